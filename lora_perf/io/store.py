"""The packed file: one safetensors file that holds a zoo and opens by mapping.

Tensors: where the zoo has them `labels` int64 (n,), `split` int64 (n,) and `ranks` int64 (n, modules); `rows` float32 (n, p),
which begin on a page boundary; where the zoo has them `scales` float32 (n, modules), and `names` and `metadata/COLUMN` uint8:
lists of n values in JSON, read when they are used and then compared with their digests. Metadata: format, layout, classes,
name, fingerprint, the digests of the columns, and a checksum of all of these but rows and columns, which is compared when the
file is opened. The fingerprint covers the rows, by a hash of each, and is compared when they are hashed. Files of the first
format have that of all rows in one, and may have no columns or no checksum. Any safetensors reader can open it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.core.digest import Hashed, Promise, damaged
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout, parse_name
from lora_perf.core.metadata import Column
from lora_perf.core.zoo import Zoo
from lora_perf.io.atomic import replacing as replacing
from lora_perf.io.headers import Header, HeaderError, bad_file, open_file, parse_header, read_text, reason
from lora_perf.io.mapped import MappedRows, OpenFile, StoredColumn
from lora_perf.io.packing import DTYPES, FORMAT, FORMATS, METADATA, METADATUM, NAMES, TEXT, checksum, columns_of
from lora_perf.io.packing import write as write


def open_packed(path: Path, known: Hashed | None = None) -> Zoo:
    """Opens a packed file; no weight is read.

    Args:
        known: what `write` has just found, so that no pass over the rows has to find it again.

    Cost: the header, labels, scales and ranks are read, the rows are mapped on first use.

    Raises:
        LoraPerfError: the file is truncated, damaged, or no packed zoo.
    """
    try:
        descriptor, status = open_file(path)
        file = OpenFile(descriptor, str(path), status)
        zoo = _zoo_of(file, parse_header(read_text(descriptor, status.st_size), status.st_size), path)
        if known is not None:
            zoo.hashed = known
        return zoo
    except OSError as error:
        raise bad_file(path, reason(error, path)) from None
    except HeaderError as error:
        raise bad_file(path, str(error)) from None


def is_packed(path: Path) -> bool:
    """Whether a file says of itself that it is a packed zoo, whatever its name."""
    try:
        descriptor, status = open_file(path)
        with os.fdopen(descriptor, "rb"):
            header = parse_header(read_text(descriptor, status.st_size), status.st_size)
    except (OSError, HeaderError):
        return False
    return header.metadata.get("format") in FORMATS


def _zoo_of(file: OpenFile, header: Header, path: Path) -> Zoo:
    metadata = header.metadata
    if metadata.get("format") not in FORMATS:
        adapter = any(parse_name(name) for name in header.entries)
        raise LoraPerfError(
            expected=f"a packed zoo ({FORMAT!r}) at {path}",
            found="a single adapter" if adapter else f"a safetensors file of format {metadata.get('format')!r}",
            fix="give the folder of the adapters" if adapter else "make it with lora_perf.pack(source, path)",
        )
    layout = Layout.from_json(str(metadata.get("layout")))
    n = _rows_of(header, layout, path)
    small: dict[str, NDArray[Any]] = {}
    for name in header.entries.keys() & {"labels", "split", "scales", "ranks"}:
        shape = (n,) if name in ("labels", "split") else (n, len(layout.modules))
        small[name] = _small(file, header, name, shape, path)
    try:
        classes = [str(name) for name in json.loads(metadata["classes"])]
    except (KeyError, ValueError, TypeError, RecursionError):
        classes = []
    if bool(classes) != ("labels" in small):
        raise damaged(path, "no labels or no class names")
    ranks = small.get("ranks")
    if ranks is not None:
        largest = np.array([module.rank for module in layout.modules])
        if bool(((ranks < 1) | (ranks > largest)).any()):
            raise damaged(path, f"ranks from {ranks.min()} to {ranks.max()}, beyond those of the layout")
    promised = metadata.get("fingerprint")
    tables = {name: torch.from_numpy(array) for name, array in small.items()}
    columns = _stored(file, header, n, path)
    names = columns.pop(NAMES, None)
    zoo = Zoo(
        MappedRows(file, header.begin + header.entries["rows"].begin, n, layout.p),
        layout,
        tables.get("labels"),
        classes,
        split=tables.get("split"),
        name=metadata.get("name", path.stem),
        promise=None if promised is None else Promise(promised, str(path), sequential=metadata["format"] != FORMAT),
        scales=tables.get("scales"),
        ranks=tables.get("ranks"),
        names=None if names is None else Column(names),
        metadata={name.removeprefix(METADATUM): column for name, column in columns.items()},
        origin=metadata.get("origin"),
    )
    entries = {name: (entry.dtype, list(entry.shape)) for name, entry in header.entries.items()}
    if "checksum" in metadata and metadata["checksum"] != checksum(metadata, entries, small):
        raise damaged(path, "a header or labels that differ from those that were packed (their checksum differs)")
    if "checksum" not in metadata and metadata.keys() - METADATA:
        raise damaged(path, f"metadata of unknown names ({listed(sorted(metadata.keys() - METADATA), 3)})")
    return zoo


def verify(path: Path) -> str:
    """Reads the whole packed file and returns its fingerprint.

    Raises:
        LoraPerfError: the content is not what was packed.
    """
    zoo = open_packed(path)
    if zoo.promise is None:
        raise damaged(path, "no fingerprint")
    for column in columns_of(zoo).values():
        column.values()
    return zoo.fingerprint


def _stored(file: OpenFile, header: Header, n: int, path: Path) -> dict[str, StoredColumn]:
    """The columns by what they are called in the file; no text of them is read."""
    stored = {}
    try:
        for name, digest in json.loads(header.metadata.get("columns", "{}")).items():
            entry = header.entries[name]
            if entry.dtype != TEXT[0] or len(entry.shape) != 1 or not (name == NAMES or name.startswith(METADATUM)):
                raise ValueError(name)
            stored[name] = StoredColumn(file, name, header.begin + entry.begin, entry.shape[0], n, str(digest))
    except (KeyError, ValueError, AttributeError, RecursionError):
        raise damaged(path, "other columns than its metadata names") from None
    return stored


def _rows_of(header: Header, layout: Layout, path: Path) -> int:
    """n, once the entry of the rows was seen to fit the layout."""
    entry = header.entries.get("rows")
    if entry is None or len(entry.shape) != 2:
        raise damaged(path, "no rows (n, p)")
    if entry.dtype != "F32" or entry.shape[1] != layout.p:
        raise damaged(path, f"rows of dtype {entry.dtype} and shape {entry.shape} for {layout!r}")
    return entry.shape[0]


def _small(file: OpenFile, header: Header, name: str, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    entry = header.entries[name]
    dtype, _ = DTYPES[name]
    if entry.dtype != dtype or entry.shape != shape:
        raise damaged(path, f"{name} of dtype {entry.dtype} and shape {entry.shape} where {dtype} and {shape} are due")
    array = np.empty(shape, np.int64 if dtype == "I64" else np.float32)
    file.read_into(array.reshape(-1).view(np.uint8).data, header.begin + entry.begin, name)
    return array
