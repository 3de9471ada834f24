"""The packed file: one safetensors file that holds a zoo and opens by mapping.

Tensors: where the zoo has them `labels` int64 (n,), `split` int64 (n,) and `ranks` int64 (n, modules); `rows` float32 (n, p),
which begin on a page boundary; where the zoo has them `scales` float32 (n, modules), and `names` and `metadata/COLUMN` uint8:
lists of n values in JSON, read when they are used and then compared with their digests. Metadata: format, layout, classes,
name, fingerprint, the digests of the columns, and a checksum of all of these but rows and columns, which is compared when the
file is opened. The fingerprint covers the rows and is compared when they are hashed. Files of before have no columns, or no
checksum. Any safetensors reader can open it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf.core.digest import Promise, RowDigest, damaged
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout, parse_name
from lora_perf.core.metadata import Column
from lora_perf.core.zoo import Zoo
from lora_perf.io.atomic import replacing as replacing
from lora_perf.io.checked import refuse_small_disk
from lora_perf.io.headers import Header, HeaderError, bad_file, open_file, parse_header, read_text, reason
from lora_perf.io.mapped import MappedRows, OpenFile, StoredColumn

FORMAT = "lora_perf zoo 1"
# dtype and bytes of a value of each tensor, in the order of the file.
_DTYPES = {"labels": ("I64", 8), "split": ("I64", 8), "ranks": ("I64", 8), "rows": ("F32", 4), "scales": ("F32", 4)}
_TEXT = ("U8", 1)  # of a column
_NAMES, _METADATUM = "names", "metadata/"
_PAGE = 4096
_DIGITS = 32  # of fingerprint and checksum
_METADATA = {"format", "layout", "classes", "name", "fingerprint"}  # beside the checksum


def write(zoo: Zoo, path: Path, progress: Callable[[int], object] | None = None) -> None:
    """Writes a zoo as a packed file, streaming its rows: memory does not grow with the zoo.

    Args:
        progress: called after each block with the number of its adapters.

    Raises:
        LoraPerfError: the disk has no room for it; nothing is written then.
    """
    n, p = len(zoo), zoo.layout.p
    before: dict[str, NDArray[Any]] = {} if zoo.labels is None else {"labels": zoo.labels.numpy()}
    if zoo.split is not None:
        before["split"] = zoo.split.to(torch.int64).numpy()
    if zoo.ranks is not None:
        before["ranks"] = zoo.ranks.numpy()
    # Of four bytes a value, scales before the rows could keep the int64 tensors or the rows from their alignment.
    after: dict[str, NDArray[Any]] = {} if zoo.scales is None else {"scales": zoo.scales.numpy()}
    columns = {name: _as_json(column) for name, column in _columns(zoo).items()}
    digests = {name: xxhash.xxh3_128_hexdigest(text.data) for name, text in columns.items()}
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "layout": zoo.layout.to_json(),
            "classes": json.dumps(zoo.classes),
            "name": zoo.name,
            "fingerprint": "0" * _DIGITS,
            **({"columns": json.dumps(digests)} if digests else {}),
            "checksum": "0" * _DIGITS,
        }
    }
    shapes = {name: array.shape for name, array in before.items()} | {"rows": (n, p)}
    shapes |= {name: array.shape for name, array in (after | columns).items()}
    offset = begin = 0
    for name, shape in shapes.items():
        dtype, size = _DTYPES.get(name, _TEXT)
        begin = offset if name == "rows" else begin
        end = offset + size * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text) + begin) % _PAGE)  # the format allows spaces after the header
    refuse_small_disk(path, 8 + len(text) + offset)
    digest = RowDigest()
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in before.values():
            file.write(np.ascontiguousarray(array).data)
        for where, block in zoo.blocks():
            rows = block.numpy()
            digest.update(rows)
            file.write(rows.data)
            if progress is not None:
                progress(where.stop - where.start)
        for array in (*after.values(), *columns.values()):
            file.write(np.ascontiguousarray(array).data)
        metadata = header.pop("__metadata__")
        metadata["fingerprint"] = digest.finish(zoo)
        entries = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
        metadata["checksum"] = _checksum(metadata, entries, before | after)
        for name in ("fingerprint", "checksum"):
            mark = f'"{name}":"'.encode()
            file.seek(8 + text.index(mark) + len(mark))
            file.write(metadata[name].encode())


Zoo.writer = write  # what `Zoo.save` calls: the room of zoos imports none


def open_packed(path: Path) -> Zoo:
    """Opens a packed file; no weight is read.

    Cost: the header, labels, scales and ranks are read, the rows are mapped on first use.

    Raises:
        LoraPerfError: the file is truncated, damaged, or no packed zoo.
    """
    try:
        descriptor, status = open_file(path)
        file = OpenFile(descriptor, str(path), status)
        return _zoo_of(file, parse_header(read_text(descriptor, status.st_size), status.st_size), path)
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
    return header.metadata.get("format") == FORMAT


def _zoo_of(file: OpenFile, header: Header, path: Path) -> Zoo:
    metadata = header.metadata
    if metadata.get("format") != FORMAT:
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
    names = columns.pop(_NAMES, None)
    zoo = Zoo(
        MappedRows(file, header.begin + header.entries["rows"].begin, n, layout.p),
        layout,
        tables.get("labels"),
        classes,
        split=tables.get("split"),
        name=metadata.get("name", path.stem),
        promise=None if promised is None else Promise(promised, str(path)),
        scales=tables.get("scales"),
        ranks=tables.get("ranks"),
        names=None if names is None else Column(names),
        metadata={name.removeprefix(_METADATUM): column for name, column in columns.items()},
    )
    entries = {name: (entry.dtype, list(entry.shape)) for name, entry in header.entries.items()}
    if "checksum" in metadata and metadata["checksum"] != _checksum(metadata, entries, small):
        raise damaged(path, "a header or labels that differ from those that were packed (their checksum differs)")
    if "checksum" not in metadata and metadata.keys() - _METADATA:
        raise damaged(path, f"metadata of unknown names ({listed(sorted(metadata.keys() - _METADATA), 3)})")
    return zoo


def verify(path: Path) -> str:
    """Reads the whole packed file and returns its fingerprint.

    Raises:
        LoraPerfError: the content is not what was packed.
    """
    zoo = open_packed(path)
    if zoo.promise is None:
        raise damaged(path, "no fingerprint")
    for column in _columns(zoo).values():
        column.values()
    return zoo.fingerprint


def _columns(zoo: Zoo) -> dict[str, Column]:
    """Names and metadata by what they are called in the file."""
    names = {} if zoo.given_names is None else {_NAMES: zoo.given_names}
    return names | {_METADATUM + name: column for name, column in zoo.metadata.columns.items()}


def _as_json(column: Column) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(column.values(), default=str, separators=(",", ":")).encode(), np.uint8)


def _stored(file: OpenFile, header: Header, n: int, path: Path) -> dict[str, StoredColumn]:
    """The columns by what they are called in the file; no text of them is read."""
    stored = {}
    try:
        for name, digest in json.loads(header.metadata.get("columns", "{}")).items():
            entry = header.entries[name]
            if entry.dtype != _TEXT[0] or len(entry.shape) != 1 or not (name == _NAMES or name.startswith(_METADATUM)):
                raise ValueError(name)
            stored[name] = StoredColumn(file, name, header.begin + entry.begin, entry.shape[0], n, str(digest))
    except (KeyError, ValueError, AttributeError, RecursionError):
        raise damaged(path, "other columns than its metadata names") from None
    return stored


def _checksum(metadata: Mapping[str, str], entries: Mapping[str, Any], small: Mapping[str, NDArray[Any]]) -> str:
    """Of all but the rows, however the header is written down; these are covered by the fingerprint, which is covered here."""
    told = {name: value for name, value in metadata.items() if name != "checksum"}
    digest = xxhash.xxh3_128(json.dumps([told, entries], sort_keys=True).encode())
    for name in sorted(small):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(small[name]).data)
    return digest.hexdigest()


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
    dtype, _ = _DTYPES[name]
    if entry.dtype != dtype or entry.shape != shape:
        raise damaged(path, f"{name} of dtype {entry.dtype} and shape {entry.shape} where {dtype} and {shape} are due")
    array = np.empty(shape, np.int64 if dtype == "I64" else np.float32)
    file.read_into(array.reshape(-1).view(np.uint8).data, header.begin + entry.begin, name)
    return array
