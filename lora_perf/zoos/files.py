"""A zoo as the folders that `datasets` reads, written in a stream: memory does not grow with the zoo."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from lora_perf.core.digest import Hashed, new_hashes, row_hashes
from lora_perf.core.zoo import BLOCK_NBYTES, Zoo

FolderStorage = Literal["nested", "array2d", "parquet"]
# The columns beside the weights of rows start..stop, each (stop - start,): strings, int64 or float64.
Columns = Callable[[int, int], Mapping[str, NDArray[Any]]]

# A record batch: a column of it is worth a system call, all of it is small beside the memory of the imports.
_BATCH_NBYTES = 32 << 20
# Files of the size that `save_to_disk` makes, yet several of them at any size, as in the data sets on the Hub.
_SHARD_NBYTES = 500 << 20
_SHARDS = 3
_VALUE_TYPES = {"U": "string", "i": "int64", "f": "float64"}


def write_dataset(zoo: Zoo, folder: Path, storage: FolderStorage, *, columns: Columns, shards: int | None = None) -> None:
    """Writes a zoo into an existing folder, as `Dataset.save_to_disk` or as the parquet files of the Hub are.

    Args:
        zoo: its rows are read once, in order.
        storage: `nested` and `array2d`: Arrow streams of List(List(float32)) or Array2D columns, which
            `datasets.load_from_disk` opens; `parquet`: nested lists in parquet files.
        columns: gives the columns beside the weights, batch by batch.
        shards: how many files, at most n; by default at least three, of at most 500 MB.

    Cost: each weight is read once and copied once into a record batch of 32 MB; parquet encodes them again.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(zoo)
    shards = shards or min(n, max(_SHARDS, -(-zoo.nbytes // _SHARD_NBYTES)))
    beside = {name: _VALUE_TYPES[values.dtype.kind] for name, values in columns(0, 1).items()}
    features = datasets.Features({name: datasets.Value(kind) for name, kind in beside.items()})
    for layer in zoo.layout:
        nested = datasets.List(datasets.List(datasets.Value("float32")))
        features[layer.name] = datasets.Array2D(layer.shape, "float32") if storage == "array2d" else nested
    batches = _Batches(zoo, features.arrow_schema, columns)
    suffix = "parquet" if storage == "parquet" else "arrow"
    paths = [folder / f"data-{shard:05d}-of-{shards:05d}.{suffix}" for shard in range(shards)]
    for shard, path in enumerate(paths):
        start, stop = n * shard // shards, n * (shard + 1) // shards
        if storage == "parquet":
            # Weights neither repeat nor compress: dictionaries and snappy would only cost time.
            with pq.ParquetWriter(path, batches.schema, compression="none", use_dictionary=list(beside)) as parquet:
                for batch in batches.between(start, stop):
                    parquet.write_batch(batch)
        else:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches.schema) as stream:
                for batch in batches.between(start, stop):
                    stream.write_batch(batch)
    if storage == "parquet":
        return
    datasets.DatasetInfo(features=features).write_to_directory(str(folder))
    # `datasets` keeps cached transformations under this key, so it has to follow from the content.
    key = xxhash.xxh3_64_hexdigest(f"{storage} {sorted(beside)} {Hashed.of(zoo, batches.hashes).fingerprint}".encode())
    state: dict[str, Any] = {
        "_data_files": [{"filename": path.name} for path in paths],
        "_fingerprint": key,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2))


def write_adapters(zoo: Zoo, folder: Path) -> None:
    """Writes a zoo into an existing folder as one safetensors file an adapter, in a sub-folder named by its class.

    The names of the files count the adapters: each class is in the order of the zoo. Layers have the names of the layout.

    Cost: each weight is read once and written as it is.
    """
    header = {
        layer.name: {"dtype": "F32", "shape": list(layer.shape), "data_offsets": [4 * layer.start, 4 * layer.stop]}
        for layer in zoo.layout
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as other writers of the format align the data
    start = struct.pack("<Q", len(text)) + text
    for name in zoo.classes:
        (folder / name).mkdir()
    digits = len(str(len(zoo) - 1))
    labels = zoo.required_labels.tolist()
    for rows, block in zoo.blocks():
        for i, row in enumerate(block.numpy(), start=rows.start):
            with open(f"{folder}/{zoo.classes[labels[i]]}/{i:0{digits}d}.safetensors", "wb") as file:
                file.write(start)
                file.write(row.data)


class _Batches:
    """Record batches of a zoo. The columns of the next batch take the place of the last one's."""

    def __init__(self, zoo: Zoo, schema: Any, columns: Columns) -> None:
        self.schema = schema
        self.hashes = new_hashes(len(zoo))
        self._zoo = zoo
        self._columns = columns
        self._rows = max(1, min(len(zoo), _BATCH_NBYTES // (4 * zoo.layout.p)))
        self._block = np.empty((zoo.block_rows(BLOCK_NBYTES), zoo.layout.p), np.float32)
        self._weights = [np.empty((self._rows, layer.size), np.float32) for layer in zoo.layout]

    def between(self, start: int, stop: int) -> Iterator[Any]:
        for first in range(start, stop, self._rows):
            yield self._batch(first, min(first + self._rows, stop))

    def _batch(self, start: int, stop: int) -> Any:
        import pyarrow as pa

        layers = self._zoo.layout.layers
        for first in range(start, stop, len(self._block)):
            last = min(first + len(self._block), stop)
            block = self._block[: last - first]
            self._zoo.source.read(first, last, block)
            self.hashes[first:last] = row_hashes(block)
            for layer, weights in zip(layers, self._weights, strict=True):
                np.copyto(weights[first - start : last - start], block[:, layer.columns])
        arrays = [pa.array(values) for values in self._columns(start, stop).values()]
        for layer, weights in zip(layers, self._weights, strict=True):
            lists = _lists(weights[: stop - start], layer.shape)
            kind = self.schema.field(layer.name).type
            arrays.append(pa.ExtensionArray.from_storage(kind, lists) if isinstance(kind, pa.ExtensionType) else lists)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _lists(values: NDArray[np.float32], shape: tuple[int, int]) -> Any:
    """Values (b, rows * columns) as an Arrow array of b lists of lists; the buffer is shared, not copied."""
    import pyarrow as pa

    b, (rows, columns) = len(values), shape
    inner = np.arange(0, (b * rows + 1) * columns, columns, dtype=np.int32)
    outer = np.arange(0, (b + 1) * rows, rows, dtype=np.int32)
    matrices = pa.ListArray.from_arrays(pa.array(inner), pa.array(values.reshape(-1)))
    return pa.ListArray.from_arrays(pa.array(outer), matrices)
