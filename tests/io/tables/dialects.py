"""Adapters as tables and as folders of files, in every dialect of names, and the updates that both mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from lora_perf.core.zoo import Zoo
from tests.io.tables.forms import Values, nested, normal, table_of

N, R = 4, 2
# The names of the down and the up of two modules in each dialect, with the modules' canonical names.
DIALECTS: dict[str, tuple[str, list[str]]] = {
    "diffusers": ("unet.mid_block.attentions.0.{}.lora.{}.weight", ["proj_in", "proj_out"]),
    "diffusers without unet.": ("mid_block.attentions.0.{}.lora.{}.weight", ["proj_in", "proj_out"]),
    "old diffusers": ("unet.mid_block.attn1.processor.{}_lora.{}.weight", ["to_q", "to_out"]),
    "kohya": ("lora_unet_mid_block_attentions_0_{}.lora_{}.weight", ["proj_in", "proj_out"]),
    "peft": ("base_model.model.layers.0.{}.lora_{}.weight", ["q", "v"]),
    "peft with an adapter's name": ("base_model.model.layers.0.{}.lora_{}.default.weight", ["q", "v"]),
    "xlabs": ("double_blocks.0.processor.{}_lora1.{}.weight", ["qkv", "proj"]),
    "loralib": ("layers.0.{}.lora_{}", ["q", "v"]),
}
# One of the two modules of diffusers' dialect.
MODULE = "unet.mid_block.attentions.0.proj_in"


def factors(dialect: str) -> dict[str, Values]:
    """Values (N, *shape) by the names of a dialect."""
    pattern, modules = DIALECTS[dialect]
    sides = ("A", "B") if "lora_{}" in pattern and "unet" not in pattern else ("down", "up")
    return {
        pattern.format(module, side): normal(N, *shape, seed=2 * i + k)
        for i, module in enumerate(modules)
        for k, (side, shape) in enumerate(zip(sides, ((R, 5), (4, R)), strict=True))
    }


def as_table(values: Mapping[str, Values], **others: Any) -> pa.Table:
    """A table of matrices, vectors and numbers with labels."""
    columns = {name: nested(one, ["list"] * (one.ndim - 1)) if one.ndim > 1 else pa.array(one) for name, one in values.items()}
    return table_of({**columns, **others}, ["cat", "dog"] * (N // 2))


def as_folder(folder: Path, values: Mapping[str, Values], metadata: Sequence[dict[str, str] | None] = (None,)) -> Path:
    """The adapters as files, with the metadata in turn."""
    for i in range(N):
        inner = folder / ("cat", "dog")[i % 2]
        inner.mkdir(parents=True, exist_ok=True)
        content = {name: np.asarray(one[i]) for name, one in values.items()}
        save_file(content, inner / f"{i}.safetensors", metadata[i % len(metadata)])
    return folder


def _updates(zoo: Zoo) -> dict[str, Values]:
    """dW (n, m, k) of each module, the rows of a class together."""
    order = np.argsort(zoo.labels.numpy(), kind="stable")
    found = {}
    for place, module in enumerate(zoo.layout.modules):
        up, down = zoo.module(module.name)
        scales = 1.0 if zoo.scales is None else zoo.scales[:, place, None, None]
        found[module.name] = (scales * (up @ down)).numpy()[order]
    return found


def assert_same_updates(table: Zoo, folder: Zoo) -> None:
    mine, theirs = _updates(table), _updates(folder)
    assert sorted(mine) == sorted(theirs)
    for module in mine:
        assert_array_equal(mine[module], theirs[module])
