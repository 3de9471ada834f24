"""Watching a block of code, or what a program does from its start to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lora_perf.diagnose.timing import copy_rate
from lora_perf.diagnose.watching.findings import Line, Watched, lines_of
from lora_perf.diagnose.watching.ledger import Ledger
from lora_perf.diagnose.watching.probes import Probes


class Watching:
    """A block that is watched; at its end `found` says what was lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ledger = Ledger()
        self._begin = time.perf_counter()
        self.found: Watched | None = None

    def finish(self, status: int = 0) -> Watched:
        spent = time.perf_counter() - self._begin
        lines: tuple[Line, ...] = lines_of(self.ledger.entries, spent, copy_rate())
        self.found = Watched(self.name, spent, lines, status, foreign=os.getpid() != self.ledger.pid)
        return self.found

    @property
    def lines(self) -> tuple[Line, ...]:
        """What was found, once the block has ended."""
        return () if self.found is None else self.found.lines

    def __repr__(self) -> str:
        return f"watching {self.name}" if self.found is None else repr(self.found)


@contextmanager
def watch(name: str = "this block", *, quiet: bool = False) -> Iterator[Watching]:
    """Tells which lines of a block lose time to conversions of data, and what to write instead.

    What NumPy arrays and Arrow's columns do by methods of their own (`tolist`, `to_pylist`, `astype`) is seen only in programs
    that `python -m lora_perf.diagnose --script` runs.

    Blocks may lie in each other and overlap, in other threads too: each tells what happened from its begin to its end.

    >>> import torch, lora_perf
    >>> with lora_perf.diagnose.watch(quiet=True) as seen:
    ...     values = torch.tensor([0.5] * 20_000)
    >>> [(line.kind, line.values) for line in seen.lines]
    [('list to tensor', 20000)]

    Args:
        name: for the report.
        quiet: do not print the report at the end; it is in `found`.
    """
    watching = Watching(name)
    try:
        with Probes.installed(watching.ledger):
            yield watching
    finally:
        found = watching.finish()
        if not quiet and not found.foreign:
            print(found)
