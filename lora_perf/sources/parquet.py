"""Rows from a folder of parquet shards: decoded a row group and a column at a time, straight into the row matrix."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from lora_perf.errors import LoraPerfError
from lora_perf.layout import Layout
from lora_perf.sources.arrow import Indices, matrix_shape, nested_chunks, weight_columns
from lora_perf.sources.labels import label_names, read_labels
from lora_perf.zoo import FloatRows, RowSource, Zoo

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)  # what pyarrow raises for damaged files


class ParquetRows(RowSource):
    """Rows of parquet files, which must be decoded: a row group at a time, of which the last is kept for the next block.

    A file is opened for each group: threads may read at once, which pyarrow's readers do not bear.

    Memory: one decoded row group (`datasets` writes 1,000 rows a group) where blocks are smaller than that.
    """

    def __init__(
        self, files: list[pq.ParquetFile], paths: list[Path], layout: Layout, shapes: Sequence[tuple[int, ...]]
    ) -> None:
        self._metadata = [file.metadata for file in files]
        self._paths = paths
        self._layers = list(zip(layout, shapes, strict=True))
        self._groups = [(file, group) for file, one in enumerate(files) for group in range(one.num_row_groups)]
        sizes = [self._metadata[file].row_group(group).num_rows for file, group in self._groups]
        self._bounds: Indices = np.cumsum([0, *sizes])
        self.n = int(self._bounds[-1])
        self.p = layout.p
        self._lock = threading.Lock()
        self._kept: tuple[int, FloatRows] | None = None

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        group = int(np.searchsorted(self._bounds, start, side="right")) - 1
        done = start
        while done < stop:
            begin, end = int(self._bounds[group]), int(self._bounds[group + 1])
            upto = min(end, stop)
            if done == begin and upto == end:
                self._decode(group, out[done - start : upto - start])
            else:
                with self._lock:  # the next group is decoded into the same memory
                    np.copyto(out[done - start : upto - start], self._decoded(group)[done - begin : upto - begin])
            done, group = upto, group + 1

    def _decoded(self, group: int) -> FloatRows:
        if self._kept is None or self._kept[0] != group:
            size = int(self._bounds[group + 1] - self._bounds[group])
            previous = self._kept[1] if self._kept is not None else None
            self._kept = None
            rows = previous if previous is not None and len(previous) == size else np.empty((size, self.p), np.float32)
            self._decode(group, rows)
            self._kept = (group, rows)
        return self._kept[1]

    def _decode(self, group: int, out: FloatRows) -> None:
        index, inner = self._groups[group]
        numbers = range(int(self._bounds[group]), int(self._bounds[group + 1]))
        try:
            with (
                np.errstate(over="ignore"),  # a float64 beyond float32's range becomes infinite
                pq.ParquetFile(self._paths[index], metadata=self._metadata[index], memory_map=True) as file,
            ):
                for layer, shape in self._layers:
                    table = file.read_row_group(inner, columns=[layer.name], use_threads=False)
                    done = 0
                    for chunk in nested_chunks(layer.name, table.column(layer.name), numbers, shape):
                        out[done : done + chunk.rows, layer.columns] = chunk.matrix()
                        done += chunk.rows
        except _DAMAGE as error:
            raise _unreadable(self._paths[index], error) from None


def _unreadable(path: Path, error: Exception) -> LoraPerfError:
    return LoraPerfError(
        expected=f"a whole parquet file at {path}",
        found=(str(error).splitlines() or [type(error).__name__])[0],
        fix="write or fetch it again",
    )


def open_parquet(paths: list[Path], *, label_column: str, name: str) -> Zoo:
    """The zoo of parquet shards, in the order of their names; weights are decoded when they are used.

    Raises:
        LoraPerfError: a damaged file, shards that differ in columns or classes, what `weight_columns` and `read_labels` refuse.
    """
    files, schemas = [], []
    for path in paths:
        try:
            files.append(pq.ParquetFile(path, memory_map=True))
            schemas.append(files[-1].schema_arrow)
        except _DAMAGE as error:
            raise _unreadable(path, error) from None
    columns = weight_columns(schemas[0])
    for path, schema in zip(paths, schemas, strict=True):
        if dict(weight_columns(schema)) != dict(columns):
            raise LoraPerfError(
                expected=f"the weight columns of {paths[0].name} in every shard",
                found=f"others in {path.name}",
                fix="make the shards agree",
            )
    filled = [file for file in files if file.metadata.num_rows]
    if not filled:
        raise LoraPerfError(
            expected="at least one adapter", found=f"parquet shards without rows ({name})", fix="check the folder"
        )
    labels, classes = _labels(files, paths, label_column)
    try:
        first = next(filled[0].iter_batches(batch_size=1, columns=[column for column, _ in columns]))
    except _DAMAGE as error:
        raise _unreadable(paths[files.index(filled[0])], error) from None
    arrays = [pa.chunked_array([first.column(column)]) for column, _ in columns]
    shapes = [nested_chunks(column, array, [0])[0].row_shape() for (column, _), array in zip(columns, arrays, strict=True)]
    layout = Layout((column, matrix_shape(side, shape)) for (column, side), shape in zip(columns, shapes, strict=True))
    return Zoo(ParquetRows(files, paths, layout, shapes), layout, labels, classes, name=name)


def _labels(files: list[pq.ParquetFile], paths: list[Path], label_column: str) -> tuple[Tensor, list[str]]:
    """The labels of all shards, which must agree in their type and in the names of their classes."""
    tables: list[pa.Table] = []
    kind = names = None
    for path, file in zip(paths, files, strict=True):
        schema = file.schema_arrow
        if label_column not in schema.names:
            return read_labels(schema.empty_table(), label_column, None, None)  # whose message lists the columns of the shard
        if not tables:
            kind, names = schema.field(label_column).type, label_names(schema, label_column)
        other = schema.field(label_column).type
        if other != kind or label_names(schema, label_column) != names:
            raise LoraPerfError(
                expected=f"labels of one type and the same classes in column {label_column!r} ({kind} in {paths[0].name})",
                found=f"mixed labels: {other} in {path.name}" if other != kind else f"other classes in {path.name}",
                fix="write all labels as strings or all as integers",
            )
        try:
            tables.append(file.read(columns=[label_column]))
        except _DAMAGE as error:
            raise _unreadable(path, error) from None
    return read_labels(pa.concat_tables(tables), label_column, names, None)
