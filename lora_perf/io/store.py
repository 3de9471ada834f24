"""The packed file: one safetensors file that holds a zoo and opens by mapping.

Tensors: `labels` int64 (n,); where the zoo has them `split` int64 (n,) and `ranks` int64 (n, modules); `rows` float32
(n, p), which begin on a page boundary; where the zoo has them `scales` float32 (n, modules). Metadata: format, layout,
classes, name, fingerprint, and a checksum of all of these but the rows, which is compared when the file is opened. The
fingerprint covers the rows and is compared when they are hashed. Files of before have no checksum. Any safetensors reader can
open it.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout, parse_name
from lora_perf.core.zoo import DamagedError, FloatRows, Promise, RowDigest, RowSource, Zoo
from lora_perf.io.atomic import replacing as replacing
from lora_perf.io.headers import Header, HeaderError, bad_file, open_file, parse_header, read_text, reason

FORMAT = "lora_perf zoo 1"
# dtype and bytes of a value of each tensor, in the order of the file.
_DTYPES = {"labels": ("I64", 8), "split": ("I64", 8), "ranks": ("I64", 8), "rows": ("F32", 4), "scales": ("F32", 4)}
_PAGE = 4096
_DIGITS = 32  # of fingerprint and checksum
_METADATA = {"format", "layout", "classes", "name", "fingerprint"}  # beside the checksum
# Linux refuses a private mapping larger than memory unless told not to reserve for it; Python names the flag from 3.13 on.
_MAP_NORESERVE = 0x4000


def write(zoo: Zoo, path: Path) -> None:
    """Writes a zoo as a packed file, streaming its rows: memory does not grow with the zoo.

    Raises:
        LoraPerfError: the path cannot be written.
    """
    n, p = len(zoo), zoo.layout.p
    before: dict[str, NDArray[Any]] = {"labels": zoo.labels.numpy()}
    if zoo.split is not None:
        before["split"] = zoo.split.to(torch.int64).numpy()
    if zoo.ranks is not None:
        before["ranks"] = zoo.ranks.numpy()
    # Of four bytes a value, scales before the rows could keep the int64 tensors or the rows from their alignment.
    after: dict[str, NDArray[Any]] = {} if zoo.scales is None else {"scales": zoo.scales.numpy()}
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "layout": zoo.layout.to_json(),
            "classes": json.dumps(zoo.classes),
            "name": zoo.name,
            "fingerprint": "0" * _DIGITS,
            "checksum": "0" * _DIGITS,
        }
    }
    shapes = {name: array.shape for name, array in before.items()} | {"rows": (n, p)}
    shapes |= {name: array.shape for name, array in after.items()}
    offset = begin = 0
    for name, shape in shapes.items():
        dtype, size = _DTYPES[name]
        begin = offset if name == "rows" else begin
        end = offset + size * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text) + begin) % _PAGE)  # the format allows spaces after the header
    digest = RowDigest()
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in before.values():
            file.write(np.ascontiguousarray(array).data)
        for _, block in zoo.blocks():
            rows = block.numpy()
            digest.update(rows)
            file.write(rows.data)
        for array in after.values():
            file.write(np.ascontiguousarray(array).data)
        metadata = header.pop("__metadata__")
        metadata["fingerprint"] = digest.finish(zoo)
        entries = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
        metadata["checksum"] = _checksum(metadata, entries, before | after)
        for name in ("fingerprint", "checksum"):
            mark = f'"{name}":"'.encode()
            file.seek(8 + text.index(mark) + len(mark))
            file.write(metadata[name].encode())


class _File:
    """A file that is open to be read, for as long as somebody has it."""

    def __init__(self, descriptor: int, path: str, status: os.stat_result) -> None:
        self.descriptor = descriptor
        self.path = path
        self.state = status.st_size, status.st_mtime_ns

    def check(self) -> None:
        """Raises DamagedError where the file itself was written to; one that took its name is another one."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != self.state:
            raise _rewritten(self.path, "another content, written since")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # modules may be gone when the interpreter ends
        close(self.descriptor)

    def read_into(self, view: memoryview, place: int, what: str) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(self.descriptor, [view[done:]], place + done)  # keeps no position: threads may share it
            if not count:
                raise LoraPerfError(expected=f"{what} in {self.path}", found="the end of the file", fix="pack the zoo again")
            done += count


class MappedRows(RowSource):
    """Rows of a packed file: mapped as a whole, read block by block without growing the resident memory.

    Args:
        file: open to be read, for as long as the rows are in use.
        offset: of the rows in the file.
    """

    mapped = divisible = True

    def __init__(self, file: _File, offset: int, n: int, p: int) -> None:
        self.n, self.p = n, p
        self._offset = offset
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (os.path.abspath(self._file.path), self._file.state, self._offset, self.n, self.p)

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        self._file.check()
        place = self._offset + 4 * self.p * start
        self._file.read_into(out.data.cast("B"), place, f"rows {start} to {stop}")

    def matrix(self) -> FloatRows:
        self._file.check()  # what lies beyond the end of a file that was cut must not be touched
        if sys.platform == "linux":
            mapping = mmap.mmap(
                self._file.descriptor, 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        else:
            mapping = mmap.mmap(self._file.descriptor, 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(mapping, np.float32, self.n * self.p, self._offset).reshape(self.n, self.p)


def _open_again(path: str, state: tuple[int, int], offset: int, n: int, p: int) -> MappedRows:
    """The rows of a packed file that was open in another process, or of a copy of it.

    Raises:
        LoraPerfError: another file stands there.
    """
    try:
        descriptor, status = open_file(path)
        file = _File(descriptor, path, status)
        if file.state == state:
            return MappedRows(file, offset, n, p)
        found = "another one, written since"
    except OSError as error:
        found = reason(error, path)
    except HeaderError as error:
        found = str(error)
    raise _rewritten(path, found)


def open_packed(path: Path) -> Zoo:
    """Opens a packed file; no weight is read.

    Cost: the header, labels, scales and ranks are read, the rows are mapped on first use.

    Raises:
        LoraPerfError: the file is truncated, damaged, or no packed zoo.
    """
    try:
        descriptor, status = open_file(path)
        file = _File(descriptor, str(path), status)
        return _zoo_of(file, parse_header(read_text(descriptor, status.st_size), status.st_size), path)
    except OSError as error:
        raise bad_file(path, reason(error, path)) from None
    except HeaderError as error:
        raise bad_file(path, str(error)) from None


def _zoo_of(file: _File, header: Header, path: Path) -> Zoo:
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
        labels = torch.from_numpy(small["labels"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _damaged(path, "no labels or no class names") from None
    ranks = small.get("ranks")
    if ranks is not None:
        largest = np.array([module.rank for module in layout.modules])
        if bool(((ranks < 1) | (ranks > largest)).any()):
            raise _damaged(path, f"ranks from {ranks.min()} to {ranks.max()}, beyond those of the layout")
    promised = metadata.get("fingerprint")
    tables = {name: torch.from_numpy(small[name]) if name in small else None for name in ("split", "scales", "ranks")}
    zoo = Zoo(
        MappedRows(file, header.begin + header.entries["rows"].begin, n, layout.p),
        layout,
        labels,
        classes,
        split=tables["split"],
        name=metadata.get("name", path.stem),
        promise=None if promised is None else Promise(promised, str(path)),
        scales=tables["scales"],
        ranks=tables["ranks"],
    )
    entries = {name: (entry.dtype, list(entry.shape)) for name, entry in header.entries.items()}
    if "checksum" in metadata and metadata["checksum"] != _checksum(metadata, entries, small):
        raise _damaged(path, "a header or labels that differ from those that were packed (their checksum differs)")
    if "checksum" not in metadata and metadata.keys() - _METADATA:
        raise _damaged(path, f"metadata of unknown names ({listed(sorted(metadata.keys() - _METADATA), 3)})")
    return zoo


def verify(path: Path) -> str:
    """Reads the whole packed file and returns its fingerprint.

    Raises:
        LoraPerfError: the content is not what was packed.
    """
    zoo = open_packed(path)
    if zoo.promise is None:
        raise _damaged(path, "no fingerprint")
    return zoo.fingerprint


def _checksum(metadata: Mapping[str, str], entries: Mapping[str, Any], small: Mapping[str, NDArray[Any]]) -> str:
    """Of all but the rows, however the header is written down; these are covered by the fingerprint, which is covered here."""
    told = {name: value for name, value in metadata.items() if name != "checksum"}
    digest = xxhash.xxh3_128(json.dumps([told, entries], sort_keys=True).encode())
    for name in sorted(small):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(small[name]).data)
    return digest.hexdigest()


def _rewritten(path: str, found: str) -> DamagedError:
    return DamagedError(expected=f"the packed zoo that was opened at {path}", found=found, fix="load it again")


def _damaged(path: Path, found: str) -> DamagedError:
    return DamagedError(expected=f"an undamaged packed zoo at {path}", found=found, fix="pack the zoo again")


def _rows_of(header: Header, layout: Layout, path: Path) -> int:
    """n, once the entry of the rows was seen to fit the layout."""
    entry = header.entries.get("rows")
    if entry is None or len(entry.shape) != 2:
        raise _damaged(path, "no rows (n, p)")
    if entry.dtype != "F32" or entry.shape[1] != layout.p:
        raise _damaged(path, f"rows of dtype {entry.dtype} and shape {entry.shape} for {layout!r}")
    return entry.shape[0]


def _small(file: _File, header: Header, name: str, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    entry = header.entries[name]
    dtype, _ = _DTYPES[name]
    if entry.dtype != dtype or entry.shape != shape:
        raise _damaged(path, f"{name} of dtype {entry.dtype} and shape {entry.shape} where {dtype} and {shape} are due")
    array = np.empty(shape, np.int64 if dtype == "I64" else np.float32)
    file.read_into(array.reshape(-1).view(np.uint8).data, header.begin + entry.begin, name)
    return array
