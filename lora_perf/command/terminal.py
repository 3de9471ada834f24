"""The terminal: texts, tables and warnings whose names mean nothing to it, whatever its encoding and width."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lora_perf.core.text import forgive, printable

_WIDTH = 160  # where the output is no terminal
_TITLE = 120  # characters of a name that a title or the head of a column shows
_COLUMN = 8  # characters that a column has at least, if it needs them


def console() -> Console:
    """The standard output; what its encoding lacks is spelled out, and tables are drawn in ASCII where that is all it has."""
    forgive(sys.stdout)
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(width=None if terminal else _WIDTH, emoji=False)


def say(to: Console, text: str) -> None:
    """Prints one line, however long, and nothing of it is markup."""
    to.print(Text(printable(text)), soft_wrap=True)


def table(title: str, columns: Iterable[str], *, right: Iterable[str] = (), **style: Any) -> Table:
    """A table of texts; columns named in `right` hold numbers. `style`: further arguments of rich's table."""
    drawn = Table(title=Text(printable(title, _TITLE), "table.title") if title else None, **style)
    numbers = set(right)
    for name in columns:
        drawn.add_column(Text(printable(name, _TITLE)), justify="right" if name in numbers else "left", overflow="fold")
    return drawn


def row(drawn: Table, cells: Iterable[str], most: int | None = None) -> None:
    """Adds a row to a table, each text of it cut to `most` characters."""
    drawn.add_row(*(Text(printable(cell, most)) for cell in cells))


def show(to: Console, drawn: Table) -> None:
    """Prints a table. On a narrower terminal than it can be, its lines run on: no number is broken in two."""
    texts = [[str(one) for one in (column.header, *column.cells)] for column in drawn.columns]
    numbers = [cells[1:] for cells, column in zip(texts, drawn.columns, strict=True) if column.justify == "right"]
    word = max((len(one) for cells in numbers for cell in cells for one in cell.split()), default=_COLUMN)
    least = sum(min(max(map(cell_len, cells)), max(word, _COLUMN)) + 3 for cells in texts) + 1
    if least > to.width:
        to.width = least
    to.print(drawn)


class OneLine(logging.Formatter):
    """A record is one line, whatever the names in it hold."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def warnings_to_stderr() -> Iterator[None]:
    """Shows the package's warnings on the terminal, and nothing below them."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: record.levelno == logging.WARNING)  # errors are told by their exception
    package = logging.getLogger("lora_perf")
    before = package.propagate
    package.addHandler(handler)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.propagate = before
