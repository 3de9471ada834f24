r"""Names as text in every medium: never markup, mathematics, a formula, or control of a terminal.

A name is whatever a folder, a file, a class or a layer is called; it may hold any character. JSON keeps names as they are:
`json.dumps` writes all but ASCII as `\uXXXX`, bytes of a file name that are no text included. Every other medium has one
function here (figures: `lora_perf.report.canvas`, which asks the fonts); what these show is for reading, not for reading back.
"""

from __future__ import annotations

import io
import logging
import re
from html import escape

LONGEST = 200  # characters of a name that a page or a line shows; more than any path that a person reads
# What means something in Markdown (with the tables and the mathematics of GitHub) within a line. An underscore between
# letters means nothing, and names of representations and modules are full of them.
_MARKS = re.compile(r"[\\`*{}\[\]|~#$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)")
# Spreadsheets take a cell that begins so for a formula; the last four are the wide forms of the first.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str, most: int | None = None) -> str:
    r"""One line of text for a terminal, a log or a message: what is not printable is spelled out.

    Control characters, line ends, characters that turn the direction of writing or have no width, and bytes that are no text
    stand as Python escapes.

    Args:
        most: characters to keep; a longer text is cut in its middle.

    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text if most is None else shortened(text, most)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters: its middle is left out, since names differ at their ends.

    >>> shortened("abcdefghij", 7)
    'ab...ij'
    """
    if len(text) <= most:
        return text
    tail = (most - 3) // 2
    return f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """A number of things, in the singular or the plural.

    >>> counted(1, "run"), counted(2000, "run"), counted(2, "class", "classes")
    ('1 run', '2,000 runs', '2 classes')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def markdown(text: str, most: int | None = None) -> str:
    r"""Text that means nothing but itself within a line of Markdown, a cell of a table included.

    >>> markdown("![x](y) | <b>")
    '!\\[x\\](y) \\| &lt;b>'
    """
    return _MARKS.sub(r"\\\g<0>", printable(text, most)).replace("&", "&amp;").replace("<", "&lt;")


def html(text: str, most: int | None = None) -> str:
    """Text that means nothing but itself in HTML, in an attribute too.

    >>> html("<script>&")
    '&lt;script&gt;&amp;'
    """
    return escape(printable(text, most))


def csv_cell(value: object) -> object:
    """A value of a CSV file: numbers stay numbers; a text that a spreadsheet would compute begins with an apostrophe.

    >>> csv_cell("=1+1"), csv_cell(-1.5)
    ("'=1+1", -1.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


class OneLine(logging.Formatter):
    """A record of a log is one line, whatever the names in it hold."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def forgive(stream: object) -> None:
    """Makes a stream of text spell out the characters that its encoding lacks, instead of raising."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
        stream.reconfigure(errors="backslashreplace")
