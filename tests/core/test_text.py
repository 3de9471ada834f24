"""One escape for each medium: what a reader of the medium gets is the name, and nothing else happens."""

from __future__ import annotations

import csv
import io
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import csv_cell, forgive, markdown, printable, shortened

# Any text that a file name may hold: bytes that are no text come as lone surrogates.
ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_printable_text_is_one_line_of_printable_characters_in_any_encoding(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]8;;http://a\x07", r"\x1b[31mred\x1b]8;;http://a\x07"),
        ("a\r\n\tb\0", r"a\r\n\tb\x00"),
        ("\u202egnp.exe\u200b", r"\u202egnp.exe\u200b"),
        ("line\u2028end\x85", r"line\u2028end\x85"),
        ("caf\udce9", r"caf\udce9"),
        ("caf\u00e9 \u732b :smile: [red] $x^2$ 100 %", "caf\u00e9 \u732b :smile: [red] $x^2$ 100 %"),
    ],
)
def test_what_moves_a_terminal_is_spelled_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(string.ascii_letters), st.integers(10, 40))
def test_a_long_text_keeps_its_ends(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) == min(len(text), most)
    head, dots, tail = short.partition("...")
    assert (text.startswith(head) and text.endswith(tail)) if dots else short == text


def unescaped(source: str) -> str:
    """What a reader of CommonMark sees of a line without marks: backslashes before punctuation go, entities are characters."""
    plain = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source)
    return plain.replace("&lt;", "<").replace("&amp;", "&")


@given(st.text(st.characters(categories=["L", "N", "P", "S"])).filter(lambda text: not re.search(r"&(lt|amp);|\\", text)))
def test_markdown_shows_the_name_itself(text: str) -> None:
    assert unescaped(markdown(text)) == text


@pytest.mark.parametrize(
    "text", ["a|b", "`a`", "*a*", "_a_", "![x](http://y)", "<script>", "a\n# b", "$x^2$", "~~a~~", "[a]: b", "&lt;", "a ##"]
)
def test_nothing_of_markdown_is_left_bare(text: str) -> None:
    source = markdown(text)
    assert not re.search(r"(?<!\\)[|`*~$\[\]#]|<|&(?!lt;|amp;)|(?<!\\)_|(?<!\\)://|\n", source)


def test_underscores_between_letters_stay() -> None:
    assert markdown("down_blocks.0.simple_stats") == "down_blocks.0.simple_stats"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    cell = csv_cell(text)
    assert isinstance(cell, str)
    assert cell[0] in "'\\"


@given(st.lists(st.one_of(ANY, st.integers(), st.floats(allow_nan=False)), min_size=1, max_size=4))
def test_a_row_of_cells_is_read_back_with_numbers_as_numbers(values: list[object]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(map(csv_cell, values))
    text.getvalue().encode()
    (row,) = csv.reader(io.StringIO(text.getvalue(), newline=""))
    for cell, value in zip(row, values, strict=True):
        assert cell.removeprefix("'") == printable(value).removeprefix("'") if isinstance(value, str) else cell == str(value)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_stream_spells_out_what_its_encoding_lacks(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, errors="strict", newline="")
    forgive(stream)
    print("\u732b caf\u00e9 \udcff", file=stream, flush=True)
    assert raw.getvalue().decode(encoding).endswith("\\udcff\n")


@given(ANY, ANY, ANY)
def test_a_message_is_one_line_whatever_the_names_in_it_hold(expected: str, found: str, fix: str) -> None:
    error = LoraPerfError(expected=expected, found=found, fix=fix)
    assert str(error).isprintable()
    assert (error.expected, error.found, error.fix) == (expected, found, fix)


def test_a_message_of_a_very_long_name_keeps_its_ends() -> None:
    error = LoraPerfError(expected="a class", found="x" * 100_000 + " in a.csv", fix="rename it")
    assert len(str(error)) < 2_100
    assert str(error).endswith(" in a.csv; rename it")


def test_listed_names_are_lines_of_bounded_length() -> None:
    assert listed(["a\nb", "c" * 1000]) == "a\\nb, " + shortened("c" * 1000, 200)
