"""Features on disk, keyed by content: a changed byte in the data or in the code that makes them is another key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import xxhash

from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.provenance import code_version
from lora_perf.core.zoo import Zoo
from lora_perf.io.checked import count_as_absent, read_values, write_values
from lora_perf.representations import REPRESENTATIONS, Concatenation, Entries


class FeatureCache:
    """A folder of safetensors files, one for each representation of a zoo.

    `flat_vec` is never stored, since it is the zoo itself, nor `ensemble`, since it is made of others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> Path:
        """Where the features of some layers stand; devices round differently, so each has its own."""
        return self.folder / f"{name}-{self._key(zoo, name, layers, device)}.safetensors"

    def load(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> Features | None:
        """The stored features, or None where there are none (a damaged file counts as none, with a warning)."""
        one = REPRESENTATIONS[name]
        if isinstance(one, Concatenation | Entries):
            return None
        path = self.path(zoo, name, layers, device)
        values = read_values(path, self._key(zoo, name, layers, device))
        if values is None:
            return None
        parts = one.describe(zoo.layout, layers)
        if values.shape != (len(zoo), sum(len(part.names) for part in parts)):
            count_as_absent(path, f"values of shape {tuple(values.shape)}")
            return None
        return Features(values.to(device), zoo.layout, parts, zoo.given_names)

    def save(self, zoo: Zoo, name: str, layers: Sequence[Layer], features: Features) -> None:
        """Stores features, whole or not at all.

        Raises:
            LoraPerfError: the folder cannot be written.
        """
        if isinstance(REPRESENTATIONS[name], Concatenation | Entries):
            return
        device = features.values.device
        write_values(self.path(zoo, name, layers, device), self._key(zoo, name, layers, device), features.values)

    def _key(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> str:
        identity = [
            zoo.fingerprint,
            name,
            [layer.name for layer in layers],
            code_version("representations/streaming.py"),
            device.type,
        ]
        return xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())
