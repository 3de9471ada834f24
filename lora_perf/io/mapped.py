"""What a packed file holds, read when it is used: its rows, and the columns of its names and metadata."""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash

from lora_perf.core.digest import DamagedError, damaged
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import FloatRows, RowSource
from lora_perf.io.headers import HeaderError, open_file, reason
from lora_perf.io.identity import State

# Linux refuses a private mapping larger than memory unless told not to reserve for it; Python names the flag from 3.13 on.
_MAP_NORESERVE = 0x4000


class OpenFile:
    """A file that is open to be read, for as long as somebody has it."""

    def __init__(self, descriptor: int, path: str, status: os.stat_result) -> None:
        self.descriptor = descriptor
        self.path = path
        self.state = status.st_size, status.st_mtime_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (os.path.abspath(self.path), self.state)

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
    """Rows of a packed file: mapped as a whole, read block by block without growing the resident memory."""

    mapped = divisible = columnwise = True

    def __init__(self, file: OpenFile, offset: int, n: int, p: int) -> None:
        self.n, self.p = n, p
        self._offset = offset
        self._file = file
        self.where = f"in the packed file {file.path}"

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        self._file.check()
        place = self._offset + 4 * self.p * start
        self._file.read_into(out.data.cast("B"), place, f"rows {start} to {stop}")

    def read_columns(self, start: int, stop: int, columns: slice, out: FloatRows) -> None:
        self._file.check()
        for row, into in zip(range(start, stop), out, strict=True):
            place = self._offset + 4 * (self.p * row + columns.start)
            self._file.read_into(into.data.cast("B"), place, f"row {row}")

    def matrix(self) -> FloatRows:
        self._file.check()  # what lies beyond the end of a file that was cut must not be touched
        if sys.platform == "linux":
            mapping = mmap.mmap(
                self._file.descriptor, 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        else:
            mapping = mmap.mmap(self._file.descriptor, 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(mapping, np.float32, self.n * self.p, self._offset).reshape(self.n, self.p)


class StoredColumn:
    """A column of names or metadata in a packed file, which messages call `what`: a list of n values in JSON, read on use."""

    def __init__(self, file: OpenFile, what: str, offset: int, nbytes: int, n: int, digest: str) -> None:
        self._file = file
        self._place = what, offset, nbytes, n, digest

    def __len__(self) -> int:
        return self._place[3]

    def tolist(self) -> list[Any]:
        """The values."""
        what, offset, nbytes, n, digest = self._place
        self._file.check()
        text = bytearray(nbytes)
        self._file.read_into(memoryview(text), offset, what)
        values = json.loads(text) if xxhash.xxh3_128_hexdigest(text) == digest else None
        if not isinstance(values, list) or len(values) != n:
            raise damaged(self._file.path, f"{what} that differ from those that were packed")
        return values


def _open_again(path: str, state: State) -> OpenFile:
    """A packed file that was open in another process, or of whose rows a copy is made."""
    try:
        descriptor, status = open_file(path)
        file = OpenFile(descriptor, path, status)
        if file.state == state:
            return file
        found = "another one, written since"
    except OSError as error:
        found = reason(error, path)
    except HeaderError as error:
        found = str(error)
    raise _rewritten(path, found)


def _rewritten(path: str, found: str) -> DamagedError:
    return DamagedError(expected=f"the packed zoo that was opened at {path}", found=found, fix="load it again")
