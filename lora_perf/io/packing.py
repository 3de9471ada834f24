"""Writing packed files: rows in a stream, or at their place by the workers of a cluster."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf.core.digest import Hashed, new_hashes, row_hashes
from lora_perf.core.metadata import Column
from lora_perf.core.zoo import Zoo
from lora_perf.distributed import over_rows
from lora_perf.io.atomic import replacing, replacing_seen
from lora_perf.io.checked import refuse_small_disk
from lora_perf.io.targets import refuse_weights

FORMAT = "lora_perf zoo 2"
FORMATS = (FORMAT, "lora_perf zoo 1")  # the first one has a fingerprint of all rows in one
# dtype and bytes of a value of each tensor, in the order of the file.
DTYPES = {"labels": ("I64", 8), "split": ("I64", 8), "ranks": ("I64", 8), "rows": ("F32", 4), "scales": ("F32", 4)}
TEXT = ("U8", 1)  # of a column
NAMES, METADATUM = "names", "metadata/"
METADATA = {"format", "layout", "classes", "name", "fingerprint"}  # beside the checksum
_PAGE = 4096
_DIGITS = 32  # of fingerprint and checksum
_TASK_NBYTES = 256 << 20  # of rows that a worker writes at a time


def write(zoo: Zoo, path: Path, progress: Callable[[int], object] | None = None, scheduler: str | None = None) -> Hashed:
    """Writes a zoo as a packed file, streaming its rows: memory does not grow with the zoo.

    Args:
        progress: called after each block with the number of its adapters.
        scheduler: of a Dask cluster, whose workers read the rows and write them at their place; all see the folder of the
            file and the source of the zoo.

    Returns:
        what `open_packed` would find in a pass over the rows.

    Raises:
        LoraPerfError: the disk has no room for it; nothing is written then.
    """
    plan = _Plan(zoo)
    refuse_small_disk(path, plan.nbytes)
    hashes = new_hashes(len(zoo))
    if scheduler is None:
        with replacing(path) as file:
            plan.begin(file)
            for where, block in zoo.blocks():
                rows = block.numpy()
                hashes[where] = row_hashes(rows)
                file.write(rows.data)
                if progress is not None:
                    progress(where.stop - where.start)
            return plan.finish(file, hashes)
    with replacing_seen(path) as (file, part):
        plan.begin(file)
        file.truncate(plan.nbytes)
        file.flush()
        asked = str(part.absolute()), plan.place
        of_parts = over_rows(scheduler, write_rows, zoo, _TASK_NBYTES, *asked, folder=path.parent, progress=progress)
        for numbers, found in of_parts:
            hashes[numbers] = found
        file.seek(plan.place + 4 * len(zoo) * zoo.layout.p)
        return plan.finish(file, hashes)


def save(zoo: Zoo, path: Path) -> Hashed:
    """Writes a zoo where no weights of another kind stand."""
    refuse_weights(path)
    return write(zoo, path)


Zoo.writer = save  # what `Zoo.save` calls: the room of zoos imports none


def complete(zoo: Zoo, path: Path, place: int, hashes: NDArray[np.uint64]) -> Hashed | None:
    """Makes a file that holds the rows of a zoo, from byte `place` on, and nothing before them, a packed one.

    Args:
        hashes: (n, 2) of the rows.

    Returns:
        None where what has to stand before the rows is larger than the room that is there; nothing is written then.
    """
    plan = _Plan(zoo, place)
    if plan.place != place:
        return None
    with path.open("r+b") as file:
        plan.begin(file)
        file.seek(place + 4 * len(zoo) * zoo.layout.p)
        file.truncate()
        found = plan.finish(file, hashes)
        file.flush()
        os.fsync(file.fileno())
    return found


def write_rows(part: Zoo, rows: slice, path: str, place: int) -> NDArray[np.uint64]:
    """A task: writes some rows into a file that holds the first row of all from byte `place` on; returns their hashes."""
    hashes = new_hashes(len(part))
    with open(path, "r+b", buffering=0) as file:
        for where, block in part.blocks():
            values = block.numpy()
            hashes[where] = row_hashes(values)
            put(file.fileno(), values, place + 4 * part.layout.p * (rows.start + where.start))
        os.fsync(file.fileno())
    return hashes


def put(descriptor: int, values: NDArray[Any], place: int) -> None:
    """Writes an array, whose values lie side by side, into a file from a byte on; threads and processes may share the file."""
    view = values.data.cast("B")
    while len(view):
        done = os.pwrite(descriptor, view, place)
        view, place = view[done:], place + done


class _Plan:
    """All of a packed file but its rows, and where these stand.

    Attributes:
        place: the byte of the first row.
        nbytes: of the file.
    """

    def __init__(self, zoo: Zoo, place: int = 0) -> None:
        """Args: place: the least that it may be."""
        self._zoo = zoo
        self._before: dict[str, NDArray[Any]] = {} if zoo.labels is None else {"labels": zoo.labels.numpy()}
        if zoo.split is not None:
            self._before["split"] = zoo.split.to(torch.int64).numpy()
        if zoo.ranks is not None:
            self._before["ranks"] = zoo.ranks.numpy()
        # Of four bytes a value, scales before the rows could keep the int64 tensors or the rows from their alignment.
        self._after: dict[str, NDArray[Any]] = {} if zoo.scales is None else {"scales": zoo.scales.numpy()}
        self._columns = {name: _as_json(column) for name, column in columns_of(zoo).items()}
        digests = {name: xxhash.xxh3_128_hexdigest(text.data) for name, text in self._columns.items()}
        self._metadata = {
            "format": FORMAT,
            "layout": zoo.layout.to_json(),
            "classes": json.dumps(zoo.classes),
            "name": zoo.name,
            "fingerprint": "0" * _DIGITS,
            **({"columns": json.dumps(digests)} if digests else {}),
            **({"origin": zoo.origin} if zoo.origin else {}),
            "checksum": "0" * _DIGITS,
        }
        shapes = {name: array.shape for name, array in self._before.items()} | {"rows": (len(zoo), zoo.layout.p)}
        shapes |= {name: array.shape for name, array in (self._after | self._columns).items()}
        self._entries: dict[str, Any] = {}
        offset = begin = 0
        for name, shape in shapes.items():
            dtype, size = DTYPES.get(name, TEXT)
            begin = offset if name == "rows" else begin
            end = offset + size * prod(shape)
            self._entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps({"__metadata__": self._metadata, **self._entries}, separators=(",", ":")).encode()
        size = 8 + len(text) + begin
        self._text = text + b" " * max(place - size, -size % _PAGE)  # the format allows spaces after the header
        self.place = 8 + len(self._text) + begin
        self.nbytes = 8 + len(self._text) + offset

    def begin(self, file: BinaryIO) -> None:
        """Writes what stands before the rows."""
        file.write(struct.pack("<Q", len(self._text)) + self._text)
        for array in self._before.values():
            file.write(np.ascontiguousarray(array).data)

    def finish(self, file: BinaryIO, hashes: NDArray[np.uint64]) -> Hashed:
        """Writes what stands behind the rows, of which these are the hashes, and what all of it adds up to."""
        for array in (*self._after.values(), *self._columns.values()):
            file.write(np.ascontiguousarray(array).data)
        found = Hashed.of(self._zoo, hashes)
        metadata = self._metadata | {"fingerprint": found.fingerprint}
        entries = {name: (entry["dtype"], entry["shape"]) for name, entry in self._entries.items()}
        metadata["checksum"] = checksum(metadata, entries, self._before | self._after)
        for name in ("fingerprint", "checksum"):
            mark = f'"{name}":"'.encode()
            file.seek(8 + self._text.index(mark) + len(mark))
            file.write(metadata[name].encode())
        return found


def columns_of(zoo: Zoo) -> dict[str, Column]:
    """Names and metadata by what they are called in the file."""
    names = {} if zoo.given_names is None else {NAMES: zoo.given_names}
    return names | {METADATUM + name: column for name, column in zoo.metadata.columns.items()}


def checksum(metadata: Mapping[str, str], entries: Mapping[str, Any], small: Mapping[str, NDArray[Any]]) -> str:
    """Of all but the rows, however the header is written down; these are covered by the fingerprint, which is covered here."""
    told = {name: value for name, value in metadata.items() if name != "checksum"}
    digest = xxhash.xxh3_128(json.dumps([told, entries], sort_keys=True).encode())
    for name in sorted(small):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(small[name]).data)
    return digest.hexdigest()


def _as_json(column: Column) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(column.values(), default=str, separators=(",", ":")).encode(), np.uint8)
