"""Files that libraries wrote: what they are read as, and the updates that the libraries apply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.testing import assert_close

from lora_perf.io.dialects import Reading, TensorEntry, read_names

peft = pytest.importorskip("peft")


def updates(model: nn.Module) -> dict[str, Tensor]:
    """The update (m, k) of every adapted module by its name, as the library itself computes it."""
    return {
        name: layer.get_delta_weight(adapter).detach().flatten(1)
        for name, layer in lora_layers(model).items()
        for adapter in layer.r
    }


def lora_layers(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)}


def read(file: Path, config: dict[str, Any] | None = None) -> tuple[Reading, dict[str, Tensor]]:
    """The reading of a file and s B A of each module."""
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        slices = {name: opened.get_slice(name) for name in tensors}
        entries = {name: TensorEntry(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
        reading = read_names(entries, opened.metadata(), config)
    return reading, products(reading, tensors)


def products(reading: Reading, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for pair in reading.pairs:
        scale = float(tensors[pair.alpha]) / pair.rank if pair.alpha else pair.scale
        assert scale is not None
        found[pair.module] = scale * tensors[pair.up].view(pair.up_shape) @ tensors[pair.down].view(pair.down_shape)
    return found


def saved(model: Any, folder: Path) -> tuple[Reading, dict[str, Tensor], dict[str, Tensor]]:
    """The reading and the updates of what PEFT writes of a model, and the updates that it applies."""
    model.save_pretrained(folder)
    found = read(folder / "adapter_model.safetensors", json.loads((folder / "adapter_config.json").read_text()))
    return *found, {name.removeprefix("base_model.model."): update for name, update in updates(model).items()}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for module, update in expected.items():
        assert update.dtype == torch.float64
        assert update.abs().max() > 0
        assert_close(found[module], update, msg=lambda text, module=module: f"{module}: {text}")
