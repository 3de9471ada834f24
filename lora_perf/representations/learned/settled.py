"""Representations of updates that the pass leaves open in one respect, which the train rows then settle for all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features, Part
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.core.rows import Chosen
from lora_perf.core.split import Split
from lora_perf.core.threads import each_on_a_core
from lora_perf.core.zoo import Zoo
from lora_perf.representations.kinds import PerModule, complete_modules
from lora_perf.representations.learned.fitting import train_rows
from lora_perf.representations.registry import Needs, Single, Sources

# The columns (n, f) of one module, the module, its train rows and a seed: settled in place.
Settle = Callable[[Tensor, Module, Tensor, int], None]


@dataclass(frozen=True)
class Settled(Single):
    """A representation of updates, module by module, of which train rows decide something: it keeps the columns of `raw`.

    Attributes:
        raw: what the pass makes, of the same name; it stands in no registry.
        settle: what is then done to the columns of each module.
    """

    name: str
    raw: PerModule
    settle: Settle
    family: str = "dw"
    sources: Sources = ()
    needs: ClassVar[Needs] = "train rows"
    any_rank: ClassVar[bool] = True
    drawn: ClassVar[bool] = True
    streamed: ClassVar[bool] = False
    stored: ClassVar[bool] = True

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order: those of the modules with both sides among them."""
        return self.raw.describe(layout, layers)

    def make(
        self,
        zoo: Zoo,
        layers: Sequence[Layer],
        device: torch.device,
        train: Chosen | Split | None = None,
        seed: int = 42,
        dimensions: int | None = None,
    ) -> Features:
        """Features of all rows of a zoo, settled by its train rows alone (see `represent`).

        Cost: a pass over the zoo of its own, and what `settle` takes of the columns.
        """
        from lora_perf.representations.streaming import streamed_alone  # which asks for this module

        if dimensions is not None:
            raise LoraPerfError(
                expected=f"no number of dimensions for {self.name}",
                found=str(dimensions),
                fix="leave it out: the shapes of modules decide",
            )
        rows = train_rows(zoo, train, self.name)
        features = streamed_alone(zoo, self.raw, layers, device)
        modules = complete_modules(zoo.layout, layers)
        pieces = features.values.split([len(part.names) for part in features.parts], dim=1)
        if device.type == "cpu":
            each_on_a_core(lambda i: self.settle(pieces[i], modules[i], rows, seed), len(modules))
        else:
            for piece, module in zip(pieces, modules, strict=True):
                self.settle(piece, module, rows, seed)
        return features


def settled(name: str, raw: PerModule) -> Callable[[Settle], Settled]:
    """Makes a representation of what the pass makes and of what then settles the columns of a module."""
    return lambda settle: Settled(name, raw, settle)
