"""One adapter file: what its header means, and how its data section becomes a row."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.dialects import Reading, TensorEntry, read_names
from lora_perf.errors import LoraPerfError, listed
from lora_perf.headers import Entry, Header
from lora_perf.layout import Layout

# Bytes of a weight of each dtype.
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
# What NumPy takes the bytes for, and what torch does where NumPy has no such type or converts it 16 times as slowly.
_DTYPES: dict[str, tuple[str, torch.dtype | None]] = {
    "F32": ("<f4", None),
    "F64": ("<f8", None),
    "F16": ("<f2", torch.float16),
    "BF16": ("<i2", torch.bfloat16),
}
# Values that torch copies on one thread: it shares more of them among threads, which wait for each other.
_ALONE = 1 << 15
# How an alpha is unpacked; some programs write it as an integer.
_ALPHAS = {"F32": "<f", "F16": "<e", "F64": "<d", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B", "BF16": "<f"}
# Alphas this close together are read by one call: reading a page costs less than another call.
_NEAR = 1 << 14


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a header means: files whose headers are equal share one.

    Attributes:
        reading: the pairs of factors.
        entries: the tensors by name.
        nbytes: of the data section.
        modules: (module, m, k) of each pair: adapters of one zoo agree in them.
        ranks: of each pair.
        scales: (modules,) float64, where they do not depend on an alpha; there it is 1 / r.
        alphas: (index of the module, entry) of the alphas to multiply with.
    """

    reading: Reading
    entries: Mapping[str, Entry]
    nbytes: int
    modules: tuple[tuple[str, int, int], ...]
    ranks: tuple[int, ...]
    scales: NDArray[np.float64]
    alphas: tuple[tuple[int, Entry], ...]


def meaning_of(header: Header, config: Mapping[str, Any] | None) -> Meaning:
    """The meaning of a header and of the `adapter_config.json` beside the file.

    Raises:
        LoraPerfError: what `read_names` refuses, a factor without its partner, weights of another dtype than these floats.
    """
    entries = header.entries
    tensors = {name: TensorEntry(entry.dtype, entry.shape) for name, entry in entries.items()}
    reading = read_names(tensors, header.metadata, config)
    if reading.unpaired:
        raise LoraPerfError(
            expected="a down and an up of each module",
            found=f"{len(reading.unpaired)} without partner: {listed(reading.unpaired, 3)}",
            fix="leave the adapter out: it is incomplete",
        )
    pairs = reading.pairs
    for name in [name for pair in pairs for name in (pair.down, pair.up)]:
        _check_dtype(name, entries[name].dtype, SIZES)
    for pair in pairs:
        if pair.alpha is not None:
            _check_dtype(pair.alpha, entries[pair.alpha].dtype, _ALPHAS)
    return Meaning(
        reading,
        entries,
        header.end - header.begin,
        tuple((pair.module, pair.up_shape[0], pair.down_shape[1]) for pair in pairs),
        tuple(pair.rank for pair in pairs),
        np.array([1 / pair.rank if pair.scale is None else pair.scale for pair in pairs]),
        tuple((i, entries[pair.alpha]) for i, pair in enumerate(pairs) if pair.alpha is not None),
    )


def _check_dtype(name: str, dtype: str, known: Mapping[str, object]) -> None:
    if dtype not in known:
        raise LoraPerfError(
            expected=f"a tensor {name!r} of dtype {listed(known)}", found=dtype, fix="convert the adapter or leave it out"
        )


def read_scales(meaning: Meaning, descriptor: int, begin: int) -> NDArray[np.float64]:
    """The scales (modules,) of one file.

    Args:
        begin: where the data section begins.

    Raises:
        LoraPerfError: an alpha that is no finite float32.
        EOFError: the file is shorter than it was.
        OSError: it cannot be read.
    """
    if not meaning.alphas:
        return meaning.scales
    scales = meaning.scales.copy()
    places = sorted(meaning.alphas, key=lambda item: item[1].begin)
    window, first = b"", 0
    for i, (index, entry) in enumerate(places):
        if entry.end > first + len(window):
            first = entry.begin
            end = entry.end
            for _, other in places[i + 1 :]:
                if other.end - first > _NEAR:
                    break
                end = other.end
            window = os.pread(descriptor, end - first, begin + first)
            if len(window) < end - first:
                raise EOFError
        scales[index] *= _number(entry.dtype, window[entry.begin - first : entry.end - first])
    fine = np.abs(scales) <= np.finfo(np.float32).max  # false for nan
    if not fine.all():
        index = int(np.argmin(fine))
        name, alpha = meaning.reading.pairs[index].alpha, scales[index] * meaning.ranks[index]
        raise LoraPerfError(
            expected=f"a finite float32 in {name!r}", found=f"{alpha:g}", fix="repair the adapter or leave it out"
        )
    return scales


def _number(dtype: str, value: bytes) -> float:
    whole = b"\0\0" + value if dtype == "BF16" else value  # the upper half of a float32
    return float(struct.unpack(_ALPHAS[dtype], whole)[0])


def layout_of(meanings: Sequence[Meaning]) -> Layout:
    """The layout that holds adapters of the same modules, with the largest rank of each; downs stand before ups."""
    ranks = np.max([meaning.ranks for meaning in meanings], axis=0).tolist()
    shapes = []
    for pair, (_, m, k), r in zip(meanings[0].reading.pairs, meanings[0].modules, ranks, strict=True):
        shapes += [(pair.down_layer, (r, k)), (pair.up_layer, (m, r))]
    return Layout(shapes)


@dataclass(frozen=True, slots=True)
class Piece:
    """Values that stand together in the file and in the row.

    Attributes:
        begin: of their bytes in the data section.
        dtype: in the file.
        start: their first column.
        count: of values.
        padded: (m, r, R) where an up (m, r) stands in a layer (m, R).
    """

    begin: int
    dtype: str
    start: int
    count: int
    padded: tuple[int, int, int] | None = None

    @property
    def end(self) -> int:
        return self.begin + self.count * SIZES[self.dtype]


class Plan:
    """The way of a data section into a row.

    float32 values go straight to their columns, by one call to the system however their order in the file differs from
    that in the row. Other dtypes, and factors of a smaller rank than the layout's, pass through a buffer.
    """

    def __init__(self, meaning: Meaning, layout: Layout) -> None:
        pieces = _pieces(meaning, layout)
        self.begin, self.end = pieces[0].begin, max(piece.end for piece in pieces)
        self.pieces = _merged(pieces)
        self.complete = sum(piece.count for piece in pieces) == layout.p
        self.direct = self.complete and all(piece.dtype == "F32" for piece in pieces)

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
            _convert(piece.dtype, values, target)

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
        pieces.append(Piece(down.begin, down.dtype, module.down.start, r * k))
        padded = None if r == module.rank else (m, r, module.rank)
        pieces.append(Piece(up.begin, up.dtype, module.up.start, m * r, padded))
    return sorted(pieces, key=lambda piece: piece.begin)


def _merged(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same values in as few pieces as there can be."""
    merged = [pieces[0]]
    for one, other in pairwise(pieces):
        last = merged[-1]
        follows = other.begin == one.end and other.start == one.start + one.count and other.dtype == one.dtype
        if follows and one.padded is None and other.padded is None:
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
