"""Single numbers of modules, their rank and their norm: what representations are worth beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.core.zoo import Zoo

# What the controls of these names use: one number a module.
MODULE_NUMBERS = ("rank", "norm")


@dataclass(frozen=True, eq=False)
class Table:
    """Features without a layer of their own: values (n, f) float32 and a name for each column."""

    values: Tensor
    names: tuple[str, ...]


def module_ranks(zoo: Zoo, layers: Sequence[Layer]) -> Table:
    """The rank of each module with both sides among some layers.

    Raises:
        LoraPerfError: there is no such module.
    """
    modules = modules_within(zoo.layout, layers, "rank")
    if zoo.ranks is None:
        values = torch.tensor([[float(one.rank) for one in modules]]).expand(len(zoo), -1).contiguous()
    else:
        values = zoo.ranks[:, _places(zoo.layout, modules)].to(torch.float32)
    return Table(values, tuple(f"{one.name}/rank" for one in modules))


def module_norms(zoo: Zoo, layers: Sequence[Layer]) -> Table:
    """The Frobenius norm |s| sqrt(sum((B^T B) * (A A^T))) of dW = s B A of each module with both sides among some layers.

    Cost: one streamed pass; 2 r^2 (m + k) flops a module in float64.
    Raises:
        LoraPerfError: there is no such module.
    """
    modules = modules_within(zoo.layout, layers, "norm")
    values = torch.empty((len(zoo), len(modules)), dtype=torch.float64)
    for rows, block in zoo.blocks():
        for place, one in enumerate(modules):
            up = block[:, one.up.columns].unflatten(1, one.up.shape).to(torch.float64)
            down = block[:, one.down.columns].unflatten(1, one.down.shape).to(torch.float64)
            squares = ((up.mT @ up) * (down @ down.mT)).sum(dim=(1, 2))
            values[rows, place] = squares.clamp_min(0).sqrt()  # rounding may leave a sum of zero slightly below it
    if zoo.scales is not None:
        values *= zoo.scales[:, _places(zoo.layout, modules)].abs()
    return Table(values.to(torch.float32), tuple(f"{one.name}/norm" for one in modules))


def modules_within(layout: Layout, layers: Iterable[Layer], wanted_by: str) -> tuple[Module, ...]:
    """The modules with both sides among some layers, in layout order.

    Raises:
        LoraPerfError: there is none; `wanted_by` names what needs them.
    """
    names = {layer.name for layer in layers}
    modules = tuple(one for one in layout.modules if one.up.name in names and one.down.name in names)
    if not modules:
        raise LoraPerfError(
            expected=f"modules with both an up and a down for {wanted_by}",
            found=f"none within {listed(sorted(names), 2)}",
            fix="choose a layer group with both sides, such as all, visual or attn2.to_v",
        )
    return modules


def _places(layout: Layout, modules: Sequence[Module]) -> list[int]:
    return [layout.modules.index(one) for one in modules]
