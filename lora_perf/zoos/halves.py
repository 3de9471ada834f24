"""Adapters of several ranks in a small file: weights in 16 bits, each as wide as its rank; opened as a zoo in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo

FORMAT = "lora_perf halves 1"
_TOLD = "adapters"


def write_halves(
    path: Path, rows: Sequence[NDArray[np.float32]], ranks: Sequence[int], told: Mapping[str, Any], name: str
) -> None:
    """Writes adapters as they are at their own ranks.

    Args:
        rows: (p_i) of each, in the layout of its rank.
        told: of the zoo: labels, classes, split, names, metadata; what JSON holds.
    """
    from safetensors.numpy import save_file

    tensors = {}
    for rank in sorted(set(ranks)):
        places = [place for place, one in enumerate(ranks) if one == rank]
        tensors[f"rank{rank}"] = np.stack([rows[place] for place in places]).astype(np.float16)
        tensors[f"places{rank}"] = np.array(places, np.int32)
    text = json.dumps({**told, "name": name}, separators=(",", ":"))
    save_file(tensors, path, {"format": FORMAT, _TOLD: text, "checksum": _checksum(tensors, text)})


def open_halves(path: Path, layout_of: Any) -> Zoo:
    """A zoo in memory of a file that `write_halves` made: rows (n, p) of the largest rank, zeros where one has a smaller.

    So all are adapters of one rank, whose factors can be compared entry by entry.

    Args:
        layout_of: rank -> the layout of adapters of that rank.

    Raises:
        LoraPerfError: the file is damaged.
    """
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    text = metadata.get(_TOLD, "")
    if metadata.get("format") != FORMAT or metadata.get("checksum") != _checksum(tensors, text):
        raise LoraPerfError(expected=f"{path} as it was written", found="other content", fix="install the package anew")
    told = json.loads(text)
    ranks = sorted(int(key[4:]) for key in tensors if key.startswith("rank"))
    whole: Layout = layout_of(ranks[-1])
    n = len(told["labels"])
    rows = np.zeros((n, whole.p), np.float32)
    for rank in ranks:
        places, values = tensors[f"places{rank}"], tensors[f"rank{rank}"].astype(np.float32)
        _pad(rows, places, values, layout_of(rank), whole)
    return Zoo.from_rows(
        rows,
        whole,
        told["labels"],
        told["classes"],
        split=torch.tensor(told["split"]),
        name=told["name"],
        names=told["names"],
        metadata=told["metadata"],
    )


def _pad(rows: NDArray[np.float32], places: NDArray[np.int32], values: NDArray[np.float32], own: Layout, whole: Layout) -> None:
    """Writes adapters (q, p_own) of one rank into rows of a larger one."""
    for small, large in zip(own.layers, whole.layers, strict=True):
        block = np.zeros((len(places), *large.shape), np.float32)
        height, width = small.shape
        block[:, :height, :width] = values[:, small.columns].reshape(-1, height, width)
        rows[places, large.columns] = block.reshape(len(places), -1)


def _checksum(tensors: Mapping[str, NDArray[Any]], text: str) -> str:
    digest = xxhash.xxh3_128(text.encode())
    for key in sorted(tensors):
        digest.update(key.encode() + np.ascontiguousarray(tensors[key]).tobytes())
    return digest.hexdigest()
