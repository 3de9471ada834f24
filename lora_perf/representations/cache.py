"""Features on disk, keyed by content: a changed byte in the data or in the code that makes them is another key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import xxhash
from torch import Tensor

from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.provenance import code_version, device_kind
from lora_perf.core.split import Split
from lora_perf.core.zoo import Zoo
from lora_perf.io.checked import count_as_absent, read_values, write_values
from lora_perf.representations import REPRESENTATIONS, Representation
from lora_perf.representations.learned.fitting import train_rows


class FeatureCache:
    """A folder of safetensors files, one for each representation of some layers of a zoo.

    Devices round differently, so each has its own. What is the zoo itself or made of others is never stored.

    Args:
        train, seed: of representations that are fitted, as `represent` takes them.
        draw: of those with random vectors.
    """

    def __init__(self, folder: Path, train: Tensor | Split | None = None, seed: int = 42, draw: int = 0) -> None:
        self.folder = folder
        self._train, self._seed, self._draw = train, seed, draw

    def load(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> Features | None:
        """The stored features, or None where there are none (a damaged file counts as none, with a warning)."""
        one = REPRESENTATIONS.named(name)
        if not one.stored:
            return None
        path, key = self.place(zoo, one, layers, device)
        values = read_values(path, key)
        if values is None:
            return None
        parts = one.describe(zoo.layout, layers, values.shape[1]) or ()
        if values.shape != (len(zoo), sum(len(part.names) for part in parts)):
            count_as_absent(path, f"values of shape {tuple(values.shape)}")
            return None
        return Features(values.to(device), zoo.layout, parts, zoo.given_names)

    def holds(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> bool:
        """Whether there is a file of these features; it is not read."""
        one = REPRESENTATIONS.named(name)
        return one.stored and self.place(zoo, one, layers, device)[0].exists()

    def save(self, zoo: Zoo, name: str, layers: Sequence[Layer], features: Features) -> None:
        """Stores features, whole or not at all."""
        one = REPRESENTATIONS.named(name)
        if one.stored:
            write_values(*self.place(zoo, one, layers, features.matrix.device), features.values)

    def place(self, zoo: Zoo, one: Representation, layers: Sequence[Layer], device: torch.device) -> tuple[Path, str]:
        """Where features stand, and the hash of all that they depend on."""
        identity: list[object] = [
            zoo.fingerprint,
            one.name,
            [layer.name for layer in layers],
            code_version("representations/streaming.py"),
            one.version,
            device_kind(device),
        ]
        if one.needs == "train rows":
            rows = train_rows(zoo, self._train, one.name)
            identity += [xxhash.xxh3_128_hexdigest(rows.numpy().tobytes()), self._seed]
        elif one.drawn:
            identity.append(f"draw {self._draw}")
        key = xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())
        return self.folder / f"{one.name}-{key}.safetensors", key
