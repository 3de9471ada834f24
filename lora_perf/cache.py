"""Features on disk, keyed by content: a changed byte in the data or in the code that makes them is another key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lora_perf import store
from lora_perf.features import Features
from lora_perf.layout import Layer
from lora_perf.provenance import code_version
from lora_perf.representations import REPRESENTATIONS, Concatenation, Entries
from lora_perf.zoo import Zoo


class FeatureCache:
    """A folder of safetensors files, one for each representation of a zoo.

    `flat_vec` is never stored, since it is the zoo itself, nor `ensemble`, since it is made of others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> Path:
        """Where the features of some layers stand; devices round differently, so each has its own."""
        identity = [zoo.fingerprint, name, [layer.name for layer in layers], code_version("representations"), device.type]
        return self.folder / f"{name}-{xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())}.safetensors"

    def load(self, zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> Features | None:
        """The stored features, or None where there are none (a damaged file counts as none)."""
        path = self.path(zoo, name, layers, device)
        one = REPRESENTATIONS[name]
        if isinstance(one, Concatenation | Entries) or not path.exists():
            return None
        try:
            values = load_file(path, device=str(device))["values"]
        except (SafetensorError, KeyError, OSError):
            return None
        parts = one.describe(zoo.layout, layers)
        if values.shape != (len(zoo), sum(len(part.names) for part in parts)):
            return None
        return Features(values, zoo.layout, parts)

    def save(self, zoo: Zoo, name: str, layers: Sequence[Layer], features: Features) -> None:
        """Stores features, whole or not at all.

        Raises:
            LoraPerfError: the folder cannot be written.
        """
        if isinstance(REPRESENTATIONS[name], Concatenation | Entries):
            return
        path = self.path(zoo, name, layers, features.values.device)
        with store.replacing(path) as file:
            file.write(save({"values": features.values.contiguous()}))
