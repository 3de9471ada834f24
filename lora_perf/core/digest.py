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


class DamagedError(LoraPerfError):
    """A file that is not what was written."""


def damaged(path: str | Path, found: str) -> DamagedError:
    return DamagedError(expected=f"an undamaged packed zoo at {path}", found=found, fix="pack the zoo again")


class RowDigest:
    """The fingerprint of a zoo, fed block by block while its rows stream past."""

    def __init__(self) -> None:
        self._rows = xxhash.xxh3_128()

    def update(self, block: FloatRows) -> None:
        self._rows.update(block.data.cast("B"))

    def finish(self, zoo: Zoo) -> str:
        whole = xxhash.xxh3_128(self._rows.digest())
        whole.update(json.dumps([zoo.layout.to_json(), zoo.classes]).encode())
        whole.update(b"no labels" if zoo.labels is None else zoo.labels.numpy().tobytes())
        if zoo.split is not None:
            whole.update(zoo.split.to(torch.int64).numpy().tobytes())
        for title, table in (("scales", zoo.scales), ("ranks", zoo.ranks)):
            if table is not None:
                whole.update(title.encode() + table.contiguous().numpy().tobytes())
        return whole.hexdigest()


def hashed(zoo: Zoo) -> tuple[str, NDArray[np.uint64]]:
    """The fingerprint of a zoo and (n, 2) the hash of each row, by one streamed pass.

    Raises:
        DamagedError: the fingerprint is not the one that was promised.
    """
    digest = RowDigest()
    hashes: list[bytes] = []
    for _, block in zoo.blocks():
        rows = block.numpy()
        digest.update(rows)
        hashes += map(xxhash.xxh3_128_digest, rows)
    fingerprint = digest.finish(zoo)
    if zoo.promise is not None and fingerprint != zoo.promise.fingerprint:
        promised = zoo.promise.fingerprint
        raise damaged(zoo.promise.path, f"content of fingerprint {fingerprint} where {promised} was packed")
    return fingerprint, np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 2)
