"""The way of an adapter file's data section into its row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.core.layout import Layout
from lora_perf.io.files.adapter import SIZES, Meaning
from lora_perf.io.headers import Entry

# What NumPy takes the bytes for, and what torch does where NumPy has no such type or converts it 16 times as slowly.
_DTYPES: dict[str, tuple[str, torch.dtype | None]] = {
    "F32": ("<f4", None),
    "F64": ("<f8", None),
    "I8": ("<i1", None),
    "F16": ("<f2", torch.float16),
    "BF16": ("<i2", torch.bfloat16),
    "F8_E4M3": ("<i1", torch.float8_e4m3fn),
    "F8_E5M2": ("<i1", torch.float8_e5m2),
    "F8_E4M3FNUZ": ("<i1", torch.float8_e4m3fnuz),
    "F8_E5M2FNUZ": ("<i1", torch.float8_e5m2fnuz),
}
# Values that torch copies on one thread: it shares more of them among threads, which wait for each other.
_ALONE = 1 << 15


@dataclass(frozen=True, slots=True)
class Piece:
    """Values that stand together in the file and in the row.

    Attributes:
        begin: of their bytes in the data section.
        dtype: in the file.
        start: their first column.
        count: of values.
        padded: (m, r, R) where an up (m, r) stands in a layer (m, R), or where the file holds it transposed.
        transposed: whether the file holds (r, m), or (k, r) of a down (r, k), which `padded` then gives as (r, k, k).
        scale: what the values are multiplied with, one number or one for each of the rows.
        rows: of the matrix, where there is a scale.
    """

    begin: int
    dtype: str
    start: int
    count: int
    padded: tuple[int, int, int] | None = None
    transposed: bool = False
    scale: Entry | None = None
    rows: int = 1

    @property
    def end(self) -> int:
        return self.begin + self.count * SIZES[self.dtype]


class Plan:
    """The way of a data section into a row.

    float32 values go straight to their columns, by one call to the system however their order in the file differs from
    that in the row. Other dtypes, transposed and quantised factors, and those of a smaller rank than the layout's, pass
    through a buffer.
    """

    def __init__(self, meaning: Meaning, layout: Layout) -> None:
        pieces = _pieces(meaning, layout)
        scales = [piece.scale for piece in pieces if piece.scale is not None]
        self.begin = min([pieces[0].begin, *(scale.begin for scale in scales)])
        self.end = max(*(piece.end for piece in pieces), *(scale.end for scale in scales))
        self.pieces = _merged(pieces)
        self.complete = sum(piece.count for piece in pieces) == layout.p
        plain = all(piece.dtype == "F32" and not piece.transposed for piece in pieces)
        self.direct = self.complete and plain

    @property
    def buffer_nbytes(self) -> int:
        """Bytes of the buffer that `fill` needs."""
        return 0 if self.direct else self.end - self.begin

    def fill(self, row: NDArray[np.float32], descriptor: int, begin: int, buffer: NDArray[np.uint8]) -> None:
        """Reads the row (p,) from a file whose data section begins at `begin`.

        Raises:
            EOFError: the file is shorter than it was.
            OSError: it cannot be read.
        """
        if self.direct:
            view = row.data.cast("B")
            self._scatter(view, descriptor, begin)
            return
        data = buffer[: self.buffer_nbytes]
        read_into(descriptor, [data.data], begin + self.begin)
        if not self.complete:
            row[:] = 0
        for piece in self.pieces:
            values = data[piece.begin - self.begin : piece.end - self.begin]
            target = row[piece.start : piece.start + piece.count]
            if piece.padded is not None:
                m, r, largest = piece.padded
                target = row[piece.start : piece.start + m * largest].reshape(m, largest)[:, :r]
            _convert(piece.dtype, values, target.T if piece.transposed else target)
            if piece.scale is not None:
                self._multiply(piece, data, row)

    def _multiply(self, piece: Piece, data: NDArray[np.uint8], row: NDArray[np.float32]) -> None:
        """Multiplies quantised values with their scale."""
        scale = piece.scale
        assert scale is not None
        factor = np.empty(prod(scale.shape), np.float32)
        _convert(scale.dtype, data[scale.begin - self.begin : scale.end - self.begin], factor)
        m, r, largest = piece.padded or (piece.rows, piece.count // piece.rows, piece.count // piece.rows)
        target = row[piece.start : piece.start + m * largest].reshape(m, largest)[:, :r]
        with np.errstate(over="ignore", invalid="ignore"):
            target *= factor[:, None] if len(factor) > 1 else factor

    def _scatter(self, row: memoryview, descriptor: int, begin: int) -> None:
        views: list[memoryview] = []
        place = end = self.begin
        for piece in self.pieces:
            gap = piece.begin - end
            if gap > len(_SINK) or len(views) > _MOST_VIEWS:
                read_into(descriptor, views, begin + place)
                views, place = [], piece.begin
            elif gap:
                views.append(_SINK[:gap])
            views.append(row[4 * piece.start : 4 * (piece.start + piece.count)])
            end = piece.end
        read_into(descriptor, views, begin + place)


# Where bytes between the wanted ones go, such as alphas; nobody reads it, so threads may share it.
_SINK = memoryview(bytearray(4096))
_MOST_VIEWS = 1000  # a call takes 1,024 on Linux and macOS; a piece adds at most two


def read_into(descriptor: int, views: list[memoryview], place: int) -> None:
    """Fills all views with the bytes that begin at `place`.

    Raises:
        EOFError: the file ends before.
        OSError: it cannot be read.
    """
    count = os.preadv(descriptor, views, place)
    wanted = sum(map(len, views))
    while count < wanted:  # a call reads at most 2 GiB
        if not count:
            raise EOFError
        place, wanted = place + count, wanted - count
        while count >= len(views[0]):
            count -= len(views.pop(0))
        views[0] = views[0][count:]
        count = os.preadv(descriptor, views, place)


def _pieces(meaning: Meaning, layout: Layout) -> list[Piece]:
    """One piece a factor, in the order of the file."""
    pieces = []
    for pair, module in zip(meaning.reading.pairs, layout.modules, strict=True):
        down, up = meaning.entries[pair.down], meaning.entries[pair.up]
        (m, r), (_, k) = pair.up_shape, pair.down_shape
        scales = [meaning.entries[name] if name else None for name in (pair.down_scale, pair.up_scale)]
        padded = (r, k, k) if pair.transposed else None
        pieces.append(Piece(down.begin, down.dtype, module.down.start, r * k, padded, pair.transposed, scales[0], r))
        padded = (m, r, module.rank) if pair.transposed or r != module.rank else None
        pieces.append(Piece(up.begin, up.dtype, module.up.start, m * r, padded, pair.transposed, scales[1], m))
    return sorted(pieces, key=lambda piece: piece.begin)


def _merged(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same values in as few pieces as there can be."""
    merged = [pieces[0]]
    for one, other in pairwise(pieces):
        last = merged[-1]
        follows = other.begin == one.end and other.start == one.start + one.count and other.dtype == one.dtype
        if follows and not (one.padded or other.padded or one.scale or other.scale):
            merged[-1] = Piece(last.begin, last.dtype, last.start, last.count + other.count)
        else:
            merged.append(other)
    return tuple(merged)


def _convert(dtype: str, values: NDArray[np.uint8], target: NDArray[np.float32]) -> None:
    """Copies values, given as their bytes, to a target of as many float32; what is beyond float32 becomes infinite."""
    carrier, kind = _DTYPES[dtype]
    source = values.view(carrier).reshape(target.shape)
    if kind is None:
        with np.errstate(over="ignore"):
            np.copyto(target, source)
        return
    halves, to = torch.from_numpy(source).view(kind), torch.from_numpy(target)
    step = max(1, _ALONE * len(target) // target.size)
    for start in range(0, len(target), step):
        to[start : start + step].copy_(halves[start : start + step])
