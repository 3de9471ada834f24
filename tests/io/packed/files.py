"""Packed files as bytes: their parts, put together again with changes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lora_perf.core.zoo import Zoo
from lora_perf.io.store import open_packed, write

MakeZoo = Callable[..., Zoo]
Header = dict[str, Any]


def with_tables(zoo: Zoo) -> Zoo:
    """The zoo with a split, scales and ranks of its adapters' modules."""
    n, modules = len(zoo), len(zoo.layout.modules)
    scales = torch.rand(n, modules, generator=torch.Generator().manual_seed(1))
    ranks = torch.arange(n * modules).view(n, modules) % 2 + 1
    return Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, split=zoo.labels % 3, scales=scales, ranks=ranks)


def repacked(zoo: Zoo, folder: Path) -> Zoo:
    """The zoo as it comes out of a packed file, `zoo.safetensors`."""
    write(zoo, folder / "zoo.safetensors")
    return open_packed(folder / "zoo.safetensors")


def parts(path: Path) -> tuple[Header, bytes]:
    """Header and data of a safetensors file, read by the definition of the format."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: object, data: bytes, blanks: int = 0) -> None:
    text = json.dumps(header).encode() + b" " * blanks
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def change(header: Header, keys: tuple[str, ...], value: object) -> Header:
    """The header with one value replaced, or removed where the value is Ellipsis."""
    header = json.loads(json.dumps(header))
    inner = header
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return header
