"""Where the rows of a zoo come from: memory, a file, or some of the rows of another source."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import index
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError

FloatRows = NDArray[np.float32]
Indices = NDArray[np.int64]
Read: TypeAlias = Callable[[int, int, FloatRows], None]
Chosen: TypeAlias = slice | Sequence[int] | Sequence[bool] | NDArray[Any] | Tensor

_TRIALS = 2  # calls of each way


class RowError(LoraPerfError, IndexError):
    """A row that is not there."""


class RowSource(ABC):
    """Where the rows of a zoo come from: n rows of p float32 each."""

    n: int
    p: int
    mapped = False  # whether `matrix` is a mapping of a file, which must not be paged in to be streamed
    where = "read from their source"  # where the rows are, in words for people
    divisible = False  # whether threads that read parts of a block together are faster than one
    columnwise = False  # whether `read_columns` takes little more from a disk than it gives

    @abstractmethod
    def read(self, start: int, stop: int, out: FloatRows) -> None:
        """Copies rows start..stop into `out` (stop - start, p), which may be a reused buffer; threads may read at once."""

    def read_columns(self, start: int, stop: int, columns: slice, out: FloatRows) -> None:
        """Copies neighbouring columns of rows start..stop into `out` (stop - start, w), whose rows may stand apart."""
        whole = np.empty((stop - start, self.p), np.float32)
        self.read(start, stop, whole)
        np.copyto(out, whole[:, columns])

    def matrix(self) -> FloatRows:
        """All rows as one (n, p) array: here a copy into fresh memory; a mapping where the source is one."""
        rows = np.empty((self.n, self.p), np.float32)
        with reading(self) as read:
            read(0, self.n, rows)
        return rows


class ArrayRows(RowSource):
    """Rows that are in memory already."""

    where = "in memory"

    def __init__(self, rows: FloatRows) -> None:
        if rows.ndim != 2:
            raise LoraPerfError(
                expected="rows (n, p), one an adapter",
                found=f"shape {rows.shape}",
                fix="give a matrix; a single row is row[None]",
            )
        self.n, self.p = rows.shape
        self._rows = rows

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        np.copyto(out, self._rows[start:stop])

    def matrix(self) -> FloatRows:
        return self._rows


class ChosenRows(RowSource):
    """Some rows of another source, in any order; neighbours are read together."""

    def __init__(self, source: RowSource, rows: Indices) -> None:
        self.n, self.p = len(rows), source.p
        self.divisible, self.columnwise = source.divisible, source.columnwise
        self.where = f"{len(rows):,} of {source.n:,} {source.where}"
        self.source = source
        self.rows = rows

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.source, ArrayRows):  # whose other rows stay here
            return ArrayRows, (self.matrix(),)
        return ChosenRows, (self.source, self.rows)

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        rows = self.rows[start:stop]
        if isinstance(self.source, ArrayRows):
            np.take(self.source.matrix(), rows, axis=0, out=out)
            return
        for first, last, places in _neighbours(rows):
            self.source.read(first, last, out[places])

    def read_columns(self, start: int, stop: int, columns: slice, out: FloatRows) -> None:
        for first, last, places in _neighbours(self.rows[start:stop]):
            self.source.read_columns(first, last, columns, out[places])


def _neighbours(rows: Indices) -> Iterator[tuple[int, int, slice]]:
    """Runs of rows that follow each other, so that each is one call: first, last + 1, and their places in the choice."""
    done = 0
    for end in (*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)):
        if end > done:
            yield int(rows[done]), int(rows[end - 1]) + 1, slice(done, end)
        done = end


class _Run(ChosenRows):
    """Neighbouring rows of a source that is mapped: its own mapping holds them."""

    mapped = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _Run, (self.source, self.rows)

    def matrix(self) -> FloatRows:
        return self.source.matrix()[int(self.rows[0]) : int(self.rows[-1]) + 1]


def chosen(source: RowSource, rows: Indices) -> RowSource:
    """A source of some rows of another one; nothing is read. Choices of choices read the first source.

    >>> whole = ArrayRows(np.arange(8, dtype=np.float32).reshape(4, 2))
    >>> chosen(chosen(whole, np.array([3, 1, 0])), np.array([0, 2])).matrix().tolist()
    [[6.0, 7.0], [0.0, 1.0]]
    """
    if isinstance(source, ChosenRows):
        rows, source = source.rows[rows], source.source
    if len(rows) and bool((np.diff(rows) == 1).all()):
        if isinstance(source, ArrayRows):
            return ArrayRows(source.matrix()[int(rows[0]) : int(rows[-1]) + 1])
        if source.mapped:
            return _Run(source, rows)
    return ChosenRows(source, rows)


def gathered(source: RowSource, rows: Indices) -> FloatRows:
    """A copy (b, p) of some rows, in the order given; they are read in the order of the source."""
    if isinstance(source, ChosenRows):
        rows, source = source.rows[rows], source.source
    out = np.empty((len(rows), source.p), np.float32)
    if isinstance(source, ArrayRows):
        return np.take(source.matrix(), rows, axis=0, out=out)
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    for first, last, among in _neighbours(ascending):
        places = order[among]
        if bool((np.diff(places) == 1).all()):
            source.read(first, last, out[places[0] : places[0] + len(places)])
        else:
            run = np.empty((len(places), source.p), np.float32)
            source.read(first, last, run)
            out[places] = run
    return out


def row_numbers(rows: Chosen, n: int) -> Indices:
    """What a choice of rows means among n rows: their numbers, from 0 on.

    Raises:
        LoraPerfError: another type, booleans of another number, or rows that are not there.

    >>> row_numbers(slice(-2, None), 5), row_numbers([True, False, True], 3), row_numbers([4, -5], 5)
    (array([3, 4]), array([0, 2]), array([4, 0]))
    """
    if isinstance(rows, slice):
        return np.arange(n)[rows].copy()  # torch takes no negative strides
    wanted = np.asarray(rows.cpu() if isinstance(rows, Tensor) else rows)
    if wanted.dtype == bool and wanted.shape == (n,):
        return np.flatnonzero(wanted)
    if wanted.ndim != 1 or not (np.issubdtype(wanted.dtype, np.integer) or not len(wanted)):
        raise LoraPerfError(
            expected=f"row numbers, a slice, or {n:,} booleans",
            found=f"{wanted.dtype} of shape {wanted.shape}",
            fix="give a list of rows, or one True or False an adapter",
        )
    numbers = wanted.astype(np.int64)
    outside = numbers[(numbers < -n) | (numbers >= n)]
    if len(outside):
        raise RowError(expected=f"rows from 0 to {n - 1}", found=f"{outside[0]}", fix="choose rows of this zoo")
    return np.where(numbers < 0, numbers + n, numbers)


def single_row(rows: Any, n: int) -> int | None:
    """The row that an index of a single one means; None where it is a choice of several.

    >>> single_row(-1, 5), single_row([-1], 5)
    (4, None)

    Raises:
        LoraPerfError: a truth, such as a list compared with a number makes; a row that is not there.
    """
    if getattr(rows, "ndim", 0):
        return None
    if isinstance(rows, bool | np.bool_) or (isinstance(rows, Tensor) and rows.dtype == torch.bool):
        raise LoraPerfError(
            expected=f"a row number, or {n:,} booleans",
            found=f"{bool(rows)} alone",
            fix="compare a tensor or an array, as in zoo[zoo.labels == 3]; a list is equal to no number",
        )
    return int(row_numbers([index(rows)], n)[0]) if isinstance(rows, SupportsIndex) else None


@contextmanager
def reading(source: RowSource) -> Iterator[Read]:
    """`read` of a source by as many threads as torch has, where their sharing of rows makes sense."""
    threads = torch.get_num_threads() if source.divisible else 1
    if threads == 1:
        yield source.read
        return
    with ThreadPoolExecutor(threads, "rows") as pool:

        def together(start: int, stop: int, out: FloatRows) -> None:
            span = -(-(stop - start) // threads)
            cuts = [(begin, min(begin + span, stop)) for begin in range(start, stop, span)]
            parts = [pool.submit(source.read, begin, end, out[begin - start : end - start]) for begin, end in cuts]
            for part in parts:
                part.result()

        yield together


class InTurn:
    """Reads blocks in several ways in turn, which give the same, and then in the way that was the fastest.

    Threads that share rows into fresh memory gain, for each page that is touched first costs. Into a buffer that is used again
    they gain on some processors, and lose 1.3 times on others (two threads of an EPYC, whose strided writes wait for memory).
    """

    def __init__(self, ways: Sequence[Read]) -> None:
        self._ways = ways
        self._turns = 0
        self._seconds = [math.inf] * len(ways)  # a row, at best: a pause of the machine tells nothing about a way

    def __call__(self, start: int, stop: int, out: FloatRows) -> None:
        if self._turns > _TRIALS * len(self._ways):
            self._ways[self._seconds.index(min(self._seconds))](start, stop, out)
            return
        way, begin = self._turns % len(self._ways), time.perf_counter()
        self._ways[way](start, stop, out)
        if self._turns:  # the first call touches the buffer first
            self._seconds[way] = min(self._seconds[way], (time.perf_counter() - begin) / (stop - start))
        self._turns += 1


def blocks_of(source: RowSource, step: int) -> Iterator[tuple[slice, FloatRows]]:
    """Yields (slice, array (b, p)) over all rows, `step` of them at most at once, in a reused buffer."""
    buffer = np.empty((step, source.p), np.float32)
    with reading(source) as together:
        read = together if together == source.read else InTurn((together, source.read))
        for start in range(0, source.n, step):
            stop = min(start + step, source.n)
            view = buffer[: stop - start]
            read(start, stop, view)
            yield slice(start, stop), view
