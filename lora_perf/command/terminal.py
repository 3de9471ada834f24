"""The terminal: texts, tables and warnings whose names mean nothing to it, whatever its encoding and width."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import rich.progress
import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lora_perf.core.settings import Progress
from lora_perf.core.tables import Table
from lora_perf.core.text import OneLine, forgive, printable

LIGHT = {"title_justify": "left", "box": box.SIMPLE_HEAD}  # the style of a report of several tables

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


def show(to: Console, shown: Table, **style: Any) -> None:
    """Prints a table. On a narrower terminal than it can be, its lines run on: no number is broken in two.

    Args:
        style: further arguments of rich's table, such as those of LIGHT.
    """
    title = Text(printable(shown.title, _TITLE), "table.title") if shown.title else None
    drawn = rich.table.Table(title=title, show_header=any(shown.columns), **style)
    for name in shown.columns:
        side: Literal["right", "left"] = "right" if name in shown.right else "left"
        drawn.add_column(Text(printable(name, _TITLE)), justify=side, overflow="fold")
    for cells in shown.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in cells))
    texts = [[str(one) for one in (column.header, *column.cells)] for column in drawn.columns]
    numbers = [cells[1:] for cells, column in zip(texts, drawn.columns, strict=True) if column.justify == "right"]
    word = max((len(one) for cells in numbers for cell in cells for one in cell.split()), default=_COLUMN)
    least = sum(min(max(map(cell_len, cells)), max(word, _COLUMN)) + 3 for cells in texts) + 1
    if least > to.width:
        to.width = least
    to.print(drawn)


@contextmanager
def progress(to: Console) -> Iterator[Progress]:
    """Bars on a terminal, one for each stage that is told; nothing elsewhere."""
    with rich.progress.Progress(console=to, transient=True, disable=not to.is_terminal) as bars:
        stages: dict[str, rich.progress.TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage)
            bars.update(stages[stage], completed=done, total=total)

        yield tell


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
