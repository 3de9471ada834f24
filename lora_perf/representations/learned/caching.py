"""Learned features on disk, keyed by content: other weights, train rows, settings or code are another key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.provenance import code_version
from lora_perf.core.zoo import Zoo
from lora_perf.io.checked import count_as_absent, read_values, write_values
from lora_perf.representations.learned.learning import as_features, learn, make_task
from lora_perf.representations.learned.registry import resolve


def cached(
    zoo: Zoo,
    name: str,
    folder: Path,
    *,
    layers: Sequence[Layer] | None = None,
    train: Tensor,
    seed: int = 42,
    device: torch.device | str = "cpu",
    dimensions: int | None = None,
    learned: Callable[[float], object] | None = None,
) -> Features:
    """What `learn` gives, taken from a folder where it stands there, else learned and stored, whole or not at all.

    The key covers the zoo's fingerprint, the name, the layers, the train rows, the seed, the number of dimensions, the kind
    of device and the code of this room with all that it builds on. A damaged file counts as none, with a warning.

    Args:
        learned: called with the seconds that it took where the features had to be learned.

    Raises:
        LoraPerfError: as `learn`; or the folder cannot be written.
    """
    one = resolve(name)
    task = make_task(zoo, one, layers, train, seed, device, dimensions)
    key = _key(zoo, name, task.layers, task.train, seed, task.device, dimensions)
    path = folder / f"{name}-{key}.safetensors"
    values = read_values(path, key)
    if values is not None and len(values) == len(zoo):
        return as_features(task, one, values.to(task.device))
    if values is not None:
        count_as_absent(path, f"values of shape {tuple(values.shape)}")
    begin = time.perf_counter()
    features = learn(zoo, name, layers=layers, train=train, seed=seed, device=device, dimensions=dimensions)
    if learned is not None:
        learned(time.perf_counter() - begin)
    write_values(path, key, features.values)
    return features


def _key(
    zoo: Zoo,
    name: str,
    layers: Sequence[Layer],
    train: Tensor,
    seed: int,
    device: torch.device,
    dimensions: int | None,
) -> str:
    rows = xxhash.xxh3_128_hexdigest(train.numpy().tobytes())
    chosen = [layer.name for layer in layers]
    identity = [zoo.fingerprint, name, chosen, rows, seed, dimensions, device.type, code_version("representations/learned")]
    return xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())
