"""The packed file: one safetensors file that holds a zoo and opens by mapping.

Tensors: `labels` int64 (n,); where the zoo has them `split` int64 (n,) and `ranks` int64 (n, modules); `rows` float32
(n, p), which begin on a page boundary; where the zoo has them `scales` float32 (n, modules). Metadata: format, layout,
classes, name, fingerprint. Any safetensors reader can open it.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.atomic import replacing as replacing
from lora_perf.errors import LoraPerfError
from lora_perf.headers import Header, read_header
from lora_perf.layout import Layout, parse_name
from lora_perf.zoo import FloatRows, RowDigest, RowSource, Zoo

FORMAT = "lora_perf zoo 1"
# dtype and bytes of a value of each tensor, in the order of the file.
_DTYPES = {"labels": ("I64", 8), "split": ("I64", 8), "ranks": ("I64", 8), "rows": ("F32", 4), "scales": ("F32", 4)}
_PAGE = 4096
_FINGERPRINT_DIGITS = 32
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
            "fingerprint": "0" * _FINGERPRINT_DIGITS,
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


def open_packed(path: Path) -> Zoo:
    """Opens a packed file; no weight is read.

    Cost: the header, labels, scales and ranks are read, the rows are mapped on first use.

    Raises:
        LoraPerfError: the file is truncated, damaged, or no packed zoo.
    """
    header = read_header(path)
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
    small: dict[str, torch.Tensor] = {}
    with open(path, "rb") as file:
        for name in header.entries.keys() & {"labels", "split", "scales", "ranks"}:
            shape = (n,) if name in ("labels", "split") else (n, len(layout.modules))
            small[name] = _small(file, header, name, shape, path)
    try:
        classes = [str(name) for name in json.loads(metadata["classes"])]
        labels = small["labels"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _damaged(path, "no labels or no class names") from None
    ranks = small.get("ranks")
    if ranks is not None:
        largest = torch.tensor([module.rank for module in layout.modules])
        if bool(((ranks < 1) | (ranks > largest)).any()):
            raise _damaged(path, f"ranks from {int(ranks.min())} to {int(ranks.max())}, beyond those of the layout")
    return Zoo(
        MappedRows(path, header.begin + header.entries["rows"].begin, n, layout.p),
        layout,
        labels,
        classes,
        split=small.get("split"),
        name=metadata.get("name", path.stem),
        scales=small.get("scales"),
        ranks=ranks,
    )


def verify(path: Path) -> str:
    """Reads the whole packed file and returns its fingerprint.

    Raises:
        LoraPerfError: the content is not what was packed.
    """
    zoo = open_packed(path)
    promised = read_header(path).metadata.get("fingerprint")
    if zoo.fingerprint != promised:
        raise _damaged(path, f"content of fingerprint {zoo.fingerprint} where {promised} was packed")
    return zoo.fingerprint


def _damaged(path: Path, found: str) -> LoraPerfError:
    return LoraPerfError(expected=f"an undamaged packed zoo at {path}", found=found, fix="pack the zoo again")


def _rows_of(header: Header, layout: Layout, path: Path) -> int:
    """n, once the entry of the rows was seen to fit the layout."""
    entry = header.entries.get("rows")
    if entry is None or len(entry.shape) != 2:
        raise _damaged(path, "no rows (n, p)")
    if entry.dtype != "F32" or entry.shape[1] != layout.p:
        raise _damaged(path, f"rows of dtype {entry.dtype} and shape {entry.shape} for {layout!r}")
    return entry.shape[0]


def _small(file: BinaryIO, header: Header, name: str, shape: tuple[int, ...], path: Path) -> torch.Tensor:
    entry = header.entries[name]
    dtype, size = _DTYPES[name]
    if entry.dtype != dtype or entry.shape != shape:
        raise _damaged(path, f"{name} of dtype {entry.dtype} and shape {entry.shape} where {dtype} and {shape} are due")
    file.seek(header.begin + entry.begin)
    data = bytearray(file.read(entry.end - entry.begin))
    if len(data) != size * prod(shape):
        raise _damaged(path, "the end of the file")
    return torch.from_numpy(np.frombuffer(data, np.int64 if dtype == "I64" else np.float32).reshape(shape))
