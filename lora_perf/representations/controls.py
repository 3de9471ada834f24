"""Single numbers of modules, their rank and their norm: what representations are worth beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lora_perf.core.features import Features, Part
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.core.zoo import Zoo
from lora_perf.representations.kinds import PerModule, modules_within, places_of
from lora_perf.representations.registry import CONTROLS, Needs, Single, Sources
from lora_perf.representations.updates.modules import Modules


@dataclass(frozen=True)
class Numbers(Single):
    """One number a module: `function` makes (n, modules) of a zoo and some of its modules."""

    name: str
    function: Callable[[Zoo, Sequence[Module]], Tensor]
    sources: Sources = ()
    family: ClassVar[str] = CONTROLS
    needs: ClassVar[Needs] = "rows"
    any_rank: ClassVar[bool] = True
    drawn: ClassVar[bool] = False
    streamed: ClassVar[bool] = False
    stored: ClassVar[bool] = False

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
        """A column for each module with both sides among some layers."""
        modules = modules_within(layout, layers, self.name)
        return tuple(Part(places_of(layout, one), one.name, (self.name,)) for one in modules)

    def make(self, zoo: Zoo, layers: Sequence[Layer], device: torch.device) -> Features:
        values = self.function(zoo, modules_within(zoo.layout, layers, self.name))
        return Features(values.to(device, torch.float32), zoo.layout, self.describe(zoo.layout, layers), zoo.given_names)


def module_ranks(zoo: Zoo, modules: Sequence[Module]) -> Tensor:
    """The rank of each module."""
    if zoo.ranks is None:
        return torch.tensor([[float(one.rank) for one in modules]]).expand(len(zoo), -1).contiguous()
    return zoo.ranks[:, _places(zoo.layout, modules)]


def module_norms(x: Modules) -> Tensor:
    """The Frobenius norm of dW = s B A, one number a module."""
    return (x.unit_frobenius * x.scale)[:, None]


NORM = PerModule("norm", lambda _: ("norm",), module_norms, family=CONTROLS)


def _places(layout: Layout, modules: Sequence[Module]) -> list[int]:
    return [layout.modules.index(one) for one in modules]
