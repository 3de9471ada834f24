"""Tables of texts, and what a person is shown of a result: the same cells as text, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from lora_perf.core.text import LONGEST, html, markdown, printable


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """A title, columns and rows of texts; columns named in `right` hold numbers.

    Any text may stand in it: each form escapes what means something there.

    >>> Table("Colours", ("name", "share"), [("red", "0.25"), ("blue", "0.5")], right=("share",))
    Colours
    name  share
    -----------
    red    0.25
    blue    0.5
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[str] = ()

    def __repr__(self) -> str:
        lines = [self.columns] * any(self.columns) + [*self.rows]
        texts = [[printable(cell, LONGEST) for cell in line] for line in lines]
        widths = [max(map(_width, column)) for column in zip(*texts, strict=True)]
        drawn = [self._line(line, widths) for line in texts]
        rule = ["-" * max(map(_width, drawn))] if any(self.columns) else []
        return "\n".join([printable(self.title, LONGEST), *drawn[: len(rule)], *rule, *drawn[len(rule) :]])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for name, cell, width in zip(self.columns, cells, widths, strict=True):
            room = " " * (width - _width(cell))
            padded.append(room + cell if name in self.right else cell + room)
        return "  ".join(padded).rstrip()

    def markdown(self) -> str:
        """The table as lines of Markdown, without its title."""
        marks = ["---:" if name in self.right else "---" for name in self.columns]
        titles, *rows = ([markdown(cell, LONGEST) for cell in line] for line in (self.columns, *self.rows))
        return "\n".join(f"| {' | '.join(line)} |" for line in (titles, marks, *rows))

    def html(self) -> str:
        """The table as HTML."""

        def line(cells: Iterable[str], kind: str) -> str:
            style = {True: ' style="text-align:right"', False: ' style="text-align:left"'}
            named = zip(self.columns, cells, strict=True)
            drawn = (f"<{kind}{style[name in self.right]}>{html(cell, LONGEST)}</{kind}>" for name, cell in named)
            return f"<tr>{''.join(drawn)}</tr>\n"

        head = f"<thead>{line(self.columns, 'th')}</thead>\n" if any(self.columns) else ""
        body = "".join(line(cells, "td") for cells in self.rows)
        caption = f'<caption style="caption-side:top;text-align:left">{html(self.title, LONGEST)}</caption>'
        return f"<table>{caption}\n{head}<tbody>\n{body}</tbody></table>\n"

    _repr_html_ = html


def page(title: str, lines: Iterable[str], tables: Iterable[Table]) -> str:
    """A title, sentences and tables as a piece of HTML, which stands in a notebook or in a page of its own.

    >>> page("A <zoo>", ["1 adapter"], [])
    '<h3>A &lt;zoo&gt;</h3>\\n<p>1 adapter</p>\\n'
    """
    told = [f"<h3>{html(title, LONGEST)}</h3>\n", *(f"<p>{html(line)}</p>\n" for line in lines)]
    return "".join(told + [table.html() for table in tables])


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)
