"""The packed file: one safetensors file that holds a zoo and opens by mapping.

Tensors: `labels` int64 (n,), `split` int64 (n,) where the zoo has one, `rows` float32 (n, p), which begin on a
page boundary. Metadata: format, layout, classes, name, fingerprint. Any safetensors reader can open it.
"""

from __future__ import annotations

import json
import mmap
import operator
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.errors import LoraPerfError
from lora_perf.layout import Layout
from lora_perf.zoo import FloatRows, RowDigest, RowSource, Zoo

FORMAT = "lora_perf zoo 1"
_PAGE = 4096
_HEADER_LIMIT = 100 << 20  # the limit of the safetensors format
_FINGERPRINT_DIGITS = 32
# Linux refuses a private mapping larger than memory unless told not to reserve for it; Python names the flag from 3.13 on.
_MAP_NORESERVE = 0x4000


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` only when it was written to its end.

    Raises:
        LoraPerfError: the folder cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LoraPerfError(
                expected=f"a folder that can be written for {path}",
                found=str(error.strerror or error),
                fix="choose another path, its permissions or a disk with room",
            ) from None
        raise


def write(zoo: Zoo, path: Path) -> None:
    """Writes a zoo as a packed file, streaming its rows: memory does not grow with the zoo.

    Raises:
        LoraPerfError: the path cannot be written.
    """
    n, p = len(zoo), zoo.layout.p
    small: dict[str, NDArray[np.int64]] = {"labels": zoo.labels.contiguous().numpy()}
    if zoo.split is not None:
        small["split"] = zoo.split.to(torch.int64).contiguous().numpy()
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "layout": zoo.layout.to_json(),
            "classes": json.dumps(zoo.classes),
            "name": zoo.name,
            "fingerprint": "0" * _FINGERPRINT_DIGITS,
        }
    }
    offset = 0
    for name, array in small.items():
        header[name] = {"dtype": "I64", "shape": [n], "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    header["rows"] = {"dtype": "F32", "shape": [n, p], "data_offsets": [offset, offset + 4 * n * p]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text) + offset) % _PAGE)  # the format allows spaces after the header
    digest = RowDigest()
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in small.values():
            file.write(array.data)
        for _, block in zoo.blocks():
            rows = block.numpy()
            digest.update(rows)
            file.write(rows.data)
        mark = b'"fingerprint":"'
        file.seek(8 + text.index(mark) + len(mark))
        file.write(digest.finish(zoo).encode())


class MappedRows(RowSource):
    """Rows of a packed file: mapped as a whole, read block by block without growing the resident memory."""

    mapped = divisible = True

    def __init__(self, path: Path, offset: int, n: int, p: int) -> None:
        self.n, self.p = n, p
        self._offset = offset
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - lives as long as the zoo

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        view = out.data.cast("B")
        place = self._offset + 4 * self.p * start
        done = 0
        while done < len(view):
            count = os.preadv(self._file.fileno(), [view[done:]], place + done)  # keeps no position: threads may share it
            if not count:
                raise LoraPerfError(
                    expected=f"rows {start} to {stop} in {self._file.name}",
                    found="the end of the file",
                    fix="pack the zoo again",
                )
            done += count

    def matrix(self) -> FloatRows:
        if sys.platform == "linux":
            mapping = mmap.mmap(
                self._file.fileno(), 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        else:
            mapping = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(mapping, np.float32, self.n * self.p, self._offset).reshape(self.n, self.p)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and the place where its data begin.

    Raises:
        LoraPerfError: the file cannot be read, or is no safetensors file, or is shorter than its header says.
    """

    def broken(found: str) -> LoraPerfError:
        return LoraPerfError(expected=f"a whole safetensors file at {path}", found=found, fix="write or fetch the file again")

    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise broken(f"{size} bytes")
            (length,) = struct.unpack("<Q", start)
            if length > min(_HEADER_LIMIT, size - 8):
                raise broken(f"a header of {length:,} bytes in a file of {size:,}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise broken(str(error.strerror)) from None
    except (ValueError, RecursionError):
        raise broken("a header that is no JSON") from None
    if not isinstance(header, dict):
        raise broken("a header that is no JSON object")
    try:
        ends = [operator.index(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        end = max(ends, default=0)
    except (TypeError, KeyError, IndexError):
        raise broken("a header without offsets") from None
    if 8 + length + end != size:
        raise broken(f"{size:,} bytes where the header promises {8 + length + end:,} (truncated or damaged)")
    return header, 8 + length


def open_packed(path: Path) -> Zoo:
    """Opens a packed file; no weight is read.

    Cost: the header and the labels are read, the rows are mapped on first use.

    Raises:
        LoraPerfError: the file is truncated, damaged, or no packed zoo.
    """
    header, begin = read_header(path)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict):
        metadata = {}
    if metadata.get("format") != FORMAT:
        raise LoraPerfError(
            expected=f"a packed zoo ({FORMAT!r}) at {path}",
            found=f"a safetensors file of format {metadata.get('format')!r}",
            fix="make it with lora_perf.pack(source, path)",
        )
    layout = Layout.from_json(str(metadata.get("layout")))
    n = _rows_of(header, layout, path)
    with open(path, "rb") as file:
        small = {name: _int64(file, header[name], begin, n, path) for name in ("labels", "split") if name in header}
    try:
        classes = [str(name) for name in json.loads(metadata["classes"])]
        labels = small["labels"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _damaged(path, "no labels or no class names") from None
    rows = MappedRows(path, begin + header["rows"]["data_offsets"][0], n, layout.p)
    return Zoo(rows, layout, labels, classes, split=small.get("split"), name=str(metadata.get("name", path.stem)))


def verify(path: Path) -> str:
    """Reads the whole packed file and returns its fingerprint.

    Raises:
        LoraPerfError: the content is not what was packed.
    """
    zoo = open_packed(path)
    promised = read_header(path)[0]["__metadata__"].get("fingerprint")
    if zoo.fingerprint != promised:
        raise _damaged(path, f"content of fingerprint {zoo.fingerprint} where {promised} was packed")
    return zoo.fingerprint


def _damaged(path: Path, found: str) -> LoraPerfError:
    return LoraPerfError(expected=f"an undamaged packed zoo at {path}", found=found, fix="pack the zoo again")


def _rows_of(header: dict[str, Any], layout: Layout, path: Path) -> int:
    """n, once the entry of the rows was seen to be consistent."""
    try:
        entry = header["rows"]
        n, p = (operator.index(x) for x in entry["shape"])
        begin, end = (operator.index(x) for x in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, "no rows (n, p)") from None
    if entry.get("dtype") != "F32" or p != layout.p or n < 0 or begin < 0 or end - begin != 4 * n * p:
        raise _damaged(path, f"rows of dtype {entry.get('dtype')}, shape {(n, p)} and {end - begin:,} bytes for {layout!r}")
    return n


def _int64(file: BinaryIO, entry: dict[str, Any], begin: int, n: int, path: Path) -> torch.Tensor:
    try:
        start, end = (operator.index(x) for x in entry["data_offsets"])
    except (TypeError, ValueError):
        raise _damaged(path, f"an integer tensor at {entry['data_offsets']}") from None
    if entry.get("dtype") != "I64" or entry.get("shape") != [n] or end - start != 8 * n or start < 0:
        raise _damaged(path, f"an integer tensor of dtype {entry.get('dtype')} and shape {entry.get('shape')} for {n} rows")
    file.seek(begin + start)
    data = np.frombuffer(file.read(8 * n), np.int64)
    if len(data) != n:
        raise _damaged(path, "the end of the file")
    return torch.from_numpy(data.copy())
