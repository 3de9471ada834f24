"""Rows from a folder of parquet shards: decoded a row group and a column at a time, straight into the row matrix."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layer
from lora_perf.core.zoo import FloatRows, RowSource, Zoo
from lora_perf.io.identity import State, rewritten, state_of
from lora_perf.io.splits import split_of_parts
from lora_perf.io.tables.arrow import Indices, nested_chunks, zoo_of_rows
from lora_perf.io.tables.columns import Columns, joined, read_columns
from lora_perf.io.tables.labels import label_names
from lora_perf.io.tables.meaning import Meaning, Shape, meaning_of
from lora_perf.io.tables.shards import Shard, called, in_path, whole

_AT_ONCE = 8  # columns that one call decodes
_WORTH_A_THREAD = 1 << 20  # bytes of a row group


class ParquetRows(RowSource):
    """Rows of parquet files, which must be decoded: a row group at a time, of which the last is kept for the next block.

    A file is opened for each group: threads may read at once, which pyarrow's readers do not bear.

    Memory: one decoded row group (`datasets` writes 1,000 rows a group) where blocks are smaller than that.
    """

    def __init__(
        self,
        files: Sequence[pq.ParquetFile],
        paths: Sequence[Path],
        states: Sequence[State],
        meaning: Meaning,
        shapes: Sequence[Shape],
    ) -> None:
        self._metadata = [file.metadata for file in files]
        self._paths = paths
        self._states = states
        self._layers = list(zip(meaning.layout, meaning.columns, shapes, strict=True))
        self._groups = [(file, group) for file, one in enumerate(files) for group in range(one.num_row_groups)]
        sizes = [self._metadata[file].row_group(group).num_rows for file, group in self._groups]
        self._bounds: Indices = np.cumsum([0, *sizes])
        self.n = int(self._bounds[-1])
        self.p = meaning.layout.p
        self._lock = threading.Lock()
        self._kept: tuple[int, FloatRows] | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_kept")}
        return state | {"_paths": [path.absolute() for path in self._paths]}  # the process that reads it may stand elsewhere

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock, self._kept = threading.Lock(), None

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
        """Fills `out` with a row group, columns by as many threads as torch has: pyarrow decodes without Python's lock."""
        threads = max(1, min(torch.get_num_threads(), len(self._layers), out.nbytes // _WORTH_A_THREAD))
        if threads == 1:
            self._decode_layers(group, self._layers, out)
            return
        with ThreadPoolExecutor(threads, "parquet") as pool:
            shares = [pool.submit(self._decode_layers, group, self._layers[i::threads], out) for i in range(threads)]
            for share in shares:
                share.result()

    def _decode_layers(self, group: int, layers: Sequence[tuple[Layer, str, Shape]], out: FloatRows) -> None:
        index, inner = self._groups[group]
        numbers = range(int(self._bounds[group]), int(self._bounds[group + 1]))
        path = self._paths[index]
        with whole(path, "parquet"), np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite
            if state_of(path) != self._states[index]:
                raise rewritten(path)
            with pq.ParquetFile(path, metadata=self._metadata[index], memory_map=True) as file:
                for place, (layer, column, shape) in enumerate(layers):
                    if place % _AT_ONCE == 0:
                        wanted = [column for _, column, _ in layers[place : place + _AT_ONCE]]
                        table = file.read_row_group(inner, columns=wanted, use_threads=False)
                    done = 0
                    for chunk in nested_chunks(column, table.column(column), numbers, shape):
                        out[done : done + chunk.rows, layer.columns] = chunk.matrix()[:]
                        done += chunk.rows


def open_parquet(
    paths: Sequence[Path],
    *,
    label_column: str | None,
    name: str,
    root: Path | None = None,
    parts: Sequence[int | None] | None = None,
) -> Zoo:
    """The zoo of parquet shards, in the order of their names; weights are decoded when they are used.

    Args:
        root: the folder that was asked for: the folders from it on may hold columns, as `label=cat/part-0.parquet`.
        parts: the part of each shard in the zoo's own split, where it has one.

    Raises:
        LoraPerfError: a damaged file, shards that differ in columns or classes, and what `read_columns`, `meaning_of`,
            `scales_of` and `read_labels` refuse; reading the rows, a file that was written since.
    """
    files, states, schemas = [], [], []
    for path in paths:
        with whole(path, "parquet"):
            states.append(state_of(path))
            files.append(pq.ParquetFile(path, memory_map=True))
            schemas.append(files[-1].schema_arrow)
    counts = [file.metadata.num_rows for file in files]
    if not any(counts):
        raise LoraPerfError(
            expected="at least one adapter", found=f"parquet shards without rows ({name})", fix="check the folder"
        )
    split = None if parts is None else split_of_parts(counts, parts, name)
    wheres = called(paths)
    columns = joined(
        [
            (where, _columns(schema, where * (len(paths) > 1)))
            for where, schema, rows in zip(wheres, schemas, counts, strict=True)
            if rows  # an empty table has the types of nothing
        ]
    )
    shards = [
        Shard(
            schema,
            rows,
            partial(_small, file, path),
            where if len(paths) > 1 else "",
            in_path(path, root, label_column, schema.names),
            partial(label_names, schema),
        )
        for schema, rows, file, path, where in zip(schemas, counts, files, paths, wheres, strict=True)
        if rows
    ]
    shapes = _shapes(files, paths, list(columns.weights))
    meaning = meaning_of(columns, shapes, name)
    rows = ParquetRows(files, paths, states, meaning, [shapes[column] for column in meaning.columns])
    # Files are closed once the zoo is open: those that hold metadata are opened again when these are used.
    filled = [(path, state) for path, state, rows in zip(paths, states, counts, strict=True) if rows]
    later = [replace(shard, read=partial(_read_again, *place)) for shard, place in zip(shards, filled, strict=True)]
    return zoo_of_rows(rows, meaning, shards, later, label_column, name, split)


def _columns(schema: pa.Schema, where: str) -> Columns:
    try:
        return read_columns(schema)
    except LoraPerfError as error:
        raise error.but(found=f"{error.found}{f' ({where})' * bool(where)}") from None


def _read_again(path: Path, state: State, column: str) -> pa.ChunkedArray:
    with whole(path, "parquet"):
        if state_of(path) != state:
            raise rewritten(path)
        with pq.ParquetFile(path, memory_map=True) as file:
            return _small(file, path, column)


def _small(file: pq.ParquetFile, path: Path, column: str) -> pa.ChunkedArray:
    with whole(path, "parquet"):
        return file.read(columns=[column]).column(column)


def _shapes(files: Sequence[pq.ParquetFile], paths: Sequence[Path], columns: list[str]) -> dict[str, Shape]:
    """The shape of the first adapter's value of each column."""
    place = next(place for place, file in enumerate(files) if file.metadata.num_rows)
    with whole(paths[place], "parquet"):
        first = next(files[place].iter_batches(batch_size=1, columns=columns))
    arrays = {column: pa.chunked_array([first.column(column)]) for column in columns}
    return {column: nested_chunks(column, array, [0])[0].row_shape() for column, array in arrays.items()}
