"""The fingerprint of a zoo: what tells its content from that of another one, however both are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import FloatRows

if TYPE_CHECKING:
    from lora_perf.core.zoo import Zoo


@dataclass(frozen=True, slots=True)
class Promise:
    """The fingerprint of the zoo that was written to a file, which is compared when its rows are hashed."""

    fingerprint: str
    path: str
    sequential: bool = False  # the hash of all rows in one, which files of the first format hold

    def check(self, found: str) -> None:
        """Raises DamagedError where another fingerprint was found."""
        if found != self.fingerprint:
            raise damaged(self.path, f"content of fingerprint {found} where {self.fingerprint} was packed")


class DamagedError(LoraPerfError):
    """A file that is not what was written."""


def damaged(path: str | Path, found: str) -> DamagedError:
    return DamagedError(expected=f"an undamaged packed zoo at {path}", found=found, fix="pack the zoo again")


@dataclass(frozen=True)
class Hashed:
    """What one pass over the rows of a zoo finds: its fingerprint, and (n, 2) uint64 the hash of each row."""

    fingerprint: str
    rows: NDArray[np.uint64]

    @classmethod
    def of(cls, zoo: Zoo, rows: NDArray[np.uint64]) -> Hashed:
        """From the hashes of the rows, made anywhere and in any order; of the zoo all is read but its rows."""
        return cls(_of_all(zoo, rows.tobytes()), rows)


def new_hashes(n: int) -> NDArray[np.uint64]:
    """(n, 2) for the hashes of n rows."""
    return np.zeros((n, 2), np.uint64)


def row_hashes(block: FloatRows) -> NDArray[np.uint64]:
    """(b, 2) the hash of each row of a block (b, p)."""
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, block)), np.uint64).reshape(-1, 2)


def hashed(zoo: Zoo) -> Hashed:
    """The fingerprint of a zoo and the hashes of its rows, by one streamed pass.

    Raises:
        DamagedError: the fingerprint is not the one that was promised.
    """
    hashes = new_hashes(len(zoo))
    # Files of the first format promise a hash of all their bytes in one.
    whole = xxhash.xxh3_128() if zoo.promise is not None and zoo.promise.sequential else None
    for where, block in zoo.blocks():
        rows = block.numpy()
        hashes[where] = row_hashes(rows)
        if whole is not None:
            whole.update(rows.data.cast("B"))
    found = Hashed.of(zoo, hashes)
    if zoo.promise is not None:
        zoo.promise.check(found.fingerprint if whole is None else _of_all(zoo, whole.digest()))
    return found


def _of_all(zoo: Zoo, rows: bytes) -> str:
    """The hash of a zoo, of whose rows only a hash is given."""
    whole = xxhash.xxh3_128(rows)
    whole.update(json.dumps([zoo.layout.to_json(), zoo.classes]).encode())
    whole.update(b"no labels" if zoo.labels is None else zoo.labels.contiguous().numpy().tobytes())
    if zoo.split is not None:
        whole.update(zoo.split.to(torch.int64).numpy().tobytes())
    for title, table in (("scales", zoo.scales), ("ranks", zoo.ranks)):
        if table is not None:
            whole.update(title.encode() + table.contiguous().numpy().tobytes())
    return whole.hexdigest()
