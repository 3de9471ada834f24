"""Rows from Arrow tables: each value is copied once, from Arrow's buffer to its place in the row matrix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layer
from lora_perf.core.zoo import BLOCK_NBYTES, FloatRows, RowSource, Zoo
from lora_perf.io.identity import Opened
from lora_perf.io.tables.columns import joined, read_columns
from lora_perf.io.tables.labels import label_names, read_labels, split_of_column
from lora_perf.io.tables.meaning import Meaning, Shape, meaning_of
from lora_perf.io.tables.nested import NestedChunk
from lora_perf.io.tables.others import metadata_of, names_of
from lora_perf.io.tables.scales import scales_of
from lora_perf.io.tables.shards import Shard

Indices = NDArray[np.int64]
# (chunk, rows of that chunk, rows of the target): slices where both run on, index vectors where they do not
Segment = tuple[int, slice | Indices, slice | Indices]


@dataclass(frozen=True)
class Part:
    """A table, and which of its rows belong to a zoo.

    Attributes:
        table: its columns may stand in any order and in chunks that differ from column to column.
        indices: (n,) the row of each adapter, where it was shuffled, selected or split; None for all rows.
        where: what it is called in messages, "" where it is the only one.
        class_names: of a column of ClassLabels.
        partitions: columns that stand in its path.
        opened: the files that it is mapped from, None where it is in memory.
    """

    table: pa.Table
    indices: Indices | None = None
    where: str = ""
    class_names: Callable[[str], list[str] | None] | None = None
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    opened: Opened | None = None

    @property
    def rows(self) -> int:
        return self.table.num_rows if self.indices is None else len(self.indices)

    def shard(self) -> Shard:
        names = self.class_names or partial(label_names, self.table.schema)
        return Shard(self.table.schema, self.rows, self._small, self.where, self.partitions, names)

    def _small(self, name: str) -> pa.ChunkedArray:
        values = self.table.column(name)
        if self.indices is None:
            return values
        values.validate(full=True)  # what is damaged must not be followed
        return values.take(pa.array(self.indices))


class ArrowRows(RowSource):
    """Rows of tables of nested columns (`weights`, as lists), one after the other, checked when they are first read."""

    divisible = True  # checking offsets, faulting in fresh memory and copying all run outside Python's lock

    def __init__(
        self,
        parts: Sequence[Part],
        weights: Sequence[Mapping[str, pa.ChunkedArray]],
        meaning: Meaning,
        shapes: Mapping[str, Shape],
    ) -> None:
        layout = meaning.layout
        self.p = layout.p
        self.n = sum(part.rows for part in parts)
        self._opened = [part.opened for part in parts if part.opened is not None]
        self._indices = _joined_indices(parts)
        total = sum(part.table.num_rows for part in parts)
        numbers = range(total) if self._indices is None else places(self._indices, total)
        by_bounds: dict[tuple[int, ...], list[tuple[Layer, list[NestedChunk]]]] = defaultdict(list)
        for layer, column in zip(layout, meaning.columns, strict=True):
            chunks: list[NestedChunk] = []
            done = 0
            for table in weights:
                values = table[column]
                chunks += nested_chunks(column, values, numbers[done : done + len(values)], shapes[column])
                done += len(values)
            bounds = tuple(accumulate((chunk.rows for chunk in chunks), initial=0))
            by_bounds[bounds].append((layer, chunks))
        self._columns = [(np.asarray(bounds), columns) for bounds, columns in by_bounds.items()]

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        for opened in self._opened:
            opened.check()
        # In data-set order block by block is gentler on the caches; a shuffled one is gathered chunk by chunk instead.
        step = max(1, BLOCK_NBYTES // (4 * self.p) if self._indices is None else stop - start)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            self._read(first, last, out[first - start : last - start])

    def _read(self, start: int, stop: int, out: FloatRows) -> None:
        # This loop runs once a layer and block, so nothing stands in it that could stand outside.
        with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, which representations refuse
            for bounds, columns in self._columns:
                segments = self._segments(bounds, start, stop)
                for layer, chunks in columns:
                    target = out[:, layer.start : layer.stop]
                    for chunk, source, rows in segments:
                        # Indexing by slices makes views, by index vectors one gathered piece that stays in the cache.
                        target[rows] = chunks[chunk].matrix()[source]

    def _segments(self, bounds: Indices, start: int, stop: int) -> list[Segment]:
        if self._indices is None:
            return list(_runs(bounds, start, stop))
        wanted = self._indices[start:stop]
        first, last = int(wanted[0]), int(wanted[-1])
        if last - first == len(wanted) - 1 and bool((np.diff(wanted) == 1).all()):
            return list(_runs(bounds, first, last + 1))
        chunk_of = np.searchsorted(bounds, wanted, side="right") - 1
        order = np.argsort(chunk_of, kind="stable")
        cuts = np.flatnonzero(np.diff(chunk_of[order])) + 1
        return [(int(chunk_of[rows[0]]), wanted[rows] - bounds[chunk_of[rows[0]]], rows) for rows in np.split(order, cuts)]


def _runs(bounds: Indices, start: int, stop: int) -> Iterable[Segment]:
    chunk = int(np.searchsorted(bounds, start, side="right")) - 1
    done = start
    while done < stop:
        begin, end = int(bounds[chunk]), int(bounds[chunk + 1])
        upto = min(end, stop)
        yield chunk, slice(done - begin, upto - begin), slice(done - start, upto - start)
        done, chunk = upto, chunk + 1


def _joined_indices(parts: Sequence[Part]) -> Indices | None:
    """The row of each adapter, where the rows of all tables are counted through; None where all follow each other."""
    if all(part.indices is None for part in parts):
        return None
    found = []
    begin = 0
    for part in parts:
        found.append(begin + (np.arange(part.rows) if part.indices is None else part.indices))
        begin += part.table.num_rows
    return np.concatenate(found)


def places(indices: Indices, size: int) -> Indices:
    """(size,) where each table row first stands in the data set, -1 for the rows that it leaves out."""
    found = np.full(size, -1, np.int64)
    found[indices[::-1]] = np.arange(len(indices))[::-1]
    return found


def nested_chunks(
    name: str, column: pa.ChunkedArray, numbers: Sequence[int] | Indices, shape: tuple[int, ...] | None = None
) -> list[NestedChunk]:
    """The chunks of one weight column that have rows; for the rest see `NestedChunk`."""
    chunks: list[NestedChunk] = []
    done = 0
    column = as_lists(column)
    for array in column.chunks:
        if len(array):
            chunks.append(NestedChunk(name, array, numbers[done : done + len(array)], shape))
            done += len(array)
    return chunks


def as_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The lists below an extension type such as Array2D, not a copy; asking each chunk for them would make a type a chunk."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):  # whose type is its shape
        return column.cast(kind.storage_type)
    return column


def zoo_of_parts(parts: Sequence[Part], *, label_column: str | None, name: str, split: Tensor | None = None) -> Zoo:
    """The zoo of the rows of some tables, one after the other.

    Raises:
        LoraPerfError: no row; tables that differ in their columns; what `read_columns`, `meaning_of`, `scales_of` and
            `read_labels` refuse.
    """
    filled = [part for part in parts if part.rows]  # an empty table has the types of nothing, and is looked at alone
    columns = joined([(part.where or name, read_columns(part.table.schema)) for part in filled or parts])
    if not filled:
        raise LoraPerfError(
            expected="at least one adapter", found=f"a data set without rows ({name})", fix="check its filter or split"
        )
    parts = filled
    weights = [{column: as_lists(part.table.column(column)) for column in columns.weights} for part in parts]
    chosen = parts[0].indices
    first = 0 if chosen is None else int(chosen[0])
    shapes = {
        column: nested_chunks(column, values.slice(first, 1), [0])[0].row_shape() for column, values in weights[0].items()
    }
    meaning = meaning_of(columns, shapes, name)
    shards = [part.shard() for part in parts]
    return zoo_of_rows(ArrowRows(parts, weights, meaning, shapes), meaning, shards, shards, label_column, name, split)


def zoo_of_rows(
    rows: RowSource,
    meaning: Meaning,
    shards: Sequence[Shard],
    later: Sequence[Shard],
    label_column: str | None,
    name: str,
    split: Tensor | None,
) -> Zoo:
    """The zoo of rows with what small columns say of them; metadata are read from `later`, the same shards, on use."""
    labels, classes = read_labels(shards, label_column, name)
    split = split_of_column(shards, label_column, name) if split is None else split
    metadata = metadata_of(later, meaning, label_column, name)
    return Zoo(
        rows,
        meaning.layout,
        labels,
        classes,
        split=split,
        name=name,
        scales=scales_of(meaning, shards, name),
        names=names_of(metadata),
        metadata=metadata,
    )
