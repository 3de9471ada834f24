"""Rows from Arrow tables: each value is copied once, from Arrow's buffer to its place in the row matrix."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from lora_perf.errors import LoraPerfError, listed
from lora_perf.layout import Layer, Layout, parse_name
from lora_perf.names import Side
from lora_perf.sources.labels import read_labels
from lora_perf.sources.nested import NestedChunk, is_nested_float
from lora_perf.zoo import BLOCK_NBYTES, FloatRows, RowSource, Zoo

Indices = NDArray[np.int64]
# (chunk, rows of that chunk, rows of the target): slices where both run on, index vectors where they do not
Segment = tuple[int, slice | Indices, slice | Indices]


class ArrowRows(RowSource):
    """Rows of a table of nested columns, which are checked when they are first read.

    Args:
        table: has the columns of the layout; their chunks may differ from column to column.
        layout: the layers.
        shapes: of a row of each of these columns.
        indices: (n,) table row of each zoo row, where the data set was shuffled, selected or split.
    """

    divisible = True

    def __init__(self, table: pa.Table, layout: Layout, shapes: Sequence[tuple[int, ...]], indices: Indices | None) -> None:
        self.p = layout.p
        self.n = table.num_rows if indices is None else len(indices)
        self._indices = indices
        numbers = range(table.num_rows) if indices is None else places(indices, table.num_rows)
        by_bounds: dict[tuple[int, ...], list[tuple[Layer, list[NestedChunk]]]] = defaultdict(list)
        for layer, shape in zip(layout, shapes, strict=True):
            chunks = nested_chunks(layer.name, table.column(layer.name), numbers, shape)
            bounds = tuple(np.cumsum([0, *(chunk.rows for chunk in chunks)]).tolist())
            by_bounds[bounds].append((layer, chunks))
        self._columns = [(np.asarray(bounds), columns) for bounds, columns in by_bounds.items()]

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        # This loop runs once a layer and block, so nothing stands in it that could stand outside.
        with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, which representations refuse
            for bounds, columns in self._columns:
                segments = self._segments(bounds, start, stop)
                for layer, chunks in columns:
                    target = out[:, layer.start : layer.stop]
                    for chunk, source, rows in segments:
                        # Indexing by slices makes views, by index vectors one gathered piece that stays in the cache.
                        target[rows] = chunks[chunk].matrix()[source]

    def matrix(self) -> FloatRows:
        rows = np.empty((self.n, self.p), np.float32)
        threads = torch.get_num_threads()
        span = -(-self.n // threads)
        # In data-set order block by block is gentler on the caches; a shuffled one is gathered chunk by chunk instead.
        step = span if self._indices is not None else max(1, BLOCK_NBYTES // (4 * self.p))

        def part(first: int) -> None:
            last = min(first + span, self.n)
            for start in range(first, last, step):
                stop = min(start + step, last)
                self.read(start, stop, rows[start:stop])

        if threads == 1:
            part(0)
        else:  # checking offsets, faulting in fresh memory and copying all run outside Python's lock
            with ThreadPoolExecutor(threads, "rows") as pool:
                for _ in pool.map(part, range(0, self.n, span)):
                    pass
        return rows

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
    return column.cast(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else column


def matrix_shape(side: Side, shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape (rows, columns) of one value of a column: a vector is of rank 1, a convolution is flattened."""
    if len(shape) == 1:
        return (1, shape[0]) if side == "down" else (shape[0], 1)
    return shape[0], prod(shape[1:])


def weight_columns(schema: pa.Schema) -> list[tuple[str, Side]]:
    """(name, side) of the weight columns of a table.

    Raises:
        LoraPerfError: there is none, one twice, or one holds something else than lists of floats.
    """
    found = []
    for field in schema:
        parsed = parse_name(field.name)
        if parsed is None:
            continue
        if not is_nested_float(field.type):
            raise LoraPerfError(
                expected=f"lists of float16, float32 or float64 in column {field.name}",
                found=f"type {field.type}",
                fix="store the weights as nested lists or Array2D, or leave the column out",
            )
        found.append((field.name, parsed[1]))
    repeated = [column for column, count in Counter(column for column, _ in found).items() if count > 1]
    if repeated:
        raise LoraPerfError(
            expected="weight columns of different names",
            found=f"{listed(repeated)} repeated",
            fix="remove the repeated columns",
        )
    if not found:
        raise LoraPerfError(
            expected="weight columns such as unet.<module>.lora.down.weight",
            found=f"only {listed(schema.names) or 'no columns'}",
            fix="check that this is a data set of LoRA adapters and rename its columns",
        )
    return found


def zoo_of_table(
    table: pa.Table, *, indices: Indices | None, label_column: str, name: str, class_names: list[str] | None = None
) -> Zoo:
    """The zoo of an Arrow table, its rows in the order of `indices` where those are given.

    `class_names` are those of integer labels, where they have any.
    """
    columns = weight_columns(table.schema)
    n = table.num_rows if indices is None else len(indices)
    if n == 0:
        raise LoraPerfError(
            expected="at least one adapter", found=f"a data set without rows ({name})", fix="check its filter or split"
        )
    first = 0 if indices is None else int(indices[0])
    weights = pa.table({column: as_lists(table.column(column)) for column, _ in columns})
    shapes = [nested_chunks(column, weights.column(column).slice(first, 1), [0])[0].row_shape() for column, _ in columns]
    layout = Layout((column, matrix_shape(side, shape)) for (column, side), shape in zip(columns, shapes, strict=True))
    labels, classes = read_labels(table, label_column, class_names, indices)
    return Zoo(ArrowRows(weights, layout, shapes, indices), layout, labels, classes, name=name)
