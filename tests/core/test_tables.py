"""Tables of any texts, in every form that they are shown in."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.tables import Table, page
from lora_perf.core.text import printable, shortened

SHAPES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.text(max_size=300), min_size=width, max_size=width), min_size=1, max_size=4)
)


class Cells(HTMLParser):
    """The tags and the texts of the cells of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] in ("td", "th") and data != "\n":
            self.cells[-1] += data


@given(SHAPES, st.text(max_size=20))
def test_html_has_the_cells_and_nothing_that_their_texts_would_add(rows: list[list[str]], title: str) -> None:
    columns = [f"c{place}" for place in range(len(rows[0]))]
    read = Cells()
    read.feed(page(title, [title], [Table(title, columns, rows, columns[:1])]))
    assert set(read.tags) <= {"h3", "p", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert read.cells == columns + [printable(cell, 200) for row in rows for cell in row]


@given(SHAPES)
def test_markdown_has_a_bar_between_cells_and_none_within(rows: list[list[str]]) -> None:
    columns = [f"c{place}" for place in range(len(rows[0]))]
    lines = Table("", columns, rows).markdown().split("\n")
    assert len(lines) == 2 + len(rows)
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {len(columns) + 1}


@given(SHAPES)
def test_text_has_a_line_a_row_with_every_cell_in_it(rows: list[list[str]]) -> None:
    columns = [f"c{place}" for place in range(len(rows[0]))]
    lines = str(Table("title", columns, rows)).split("\n")
    assert len(lines) == 3 + len(rows)
    assert lines[0] == "title"
    for line, row in zip(lines[3:], rows, strict=True):
        assert all(shortened(printable(cell), 200).rstrip() in line for cell in row)


def test_columns_stand_below_each_other_also_with_wide_characters() -> None:
    lines = str(Table("", ["name", "share"], [["\u732b\u732b", "1"], ["ab", "23"], ["e\u0301e", "4"]], ["share"])).split("\n")
    assert lines[1:] == ["name  share", "-----------", "\u732b\u732b      1", "ab       23", "e\u0301e        4"]
