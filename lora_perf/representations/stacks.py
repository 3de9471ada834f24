"""Layers and modules of one shape, stacked out of a block of rows, so that they are computed together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.representations.factors import kernels
from lora_perf.representations.factors.matrices import Matrices
from lora_perf.representations.kinds import complete_modules, siblings
from lora_perf.representations.updates.fixed import FixedVectors
from lora_perf.representations.updates.modules import Modules, Pairs


class LayerStack:
    """Layers of one shape, up to transposition, with their places among all that are represented."""

    def __init__(self, members: Sequence[tuple[int, Layer]], device: torch.device) -> None:
        self.layers = [layer for _, layer in members]
        self.places = torch.tensor([place for place, _ in members], device=device)
        self._transposed = torch.tensor([_is_tall(layer) for layer in self.layers], device=device)

    def matrices(self, block: Tensor) -> Matrices:
        """The matrices of these layers in a block (b, p), adapter by adapter, tall ones transposed."""
        views = [_view(block, layer) for layer in self.layers]
        stacked = torch.stack(
            [view.mT if _is_tall(layer) else view for view, layer in zip(views, self.layers, strict=True)], dim=1
        )
        return Matrices(stacked.flatten(0, 1), self._transposed.repeat(len(block)))


def layer_stacks(layers: Iterable[Layer], device: torch.device) -> list[LayerStack]:
    """The layers, by shape."""
    members: dict[tuple[int, ...], list[tuple[int, Layer]]] = defaultdict(list)
    for place, layer in enumerate(layers):
        members[tuple(sorted(layer.shape))].append((place, layer))
    return [LayerStack(group, device) for group in members.values()]


class ModuleStack:
    """Modules of one rank and shape with their places in `layout.modules`, and the pairs of `siblings` among them."""

    def __init__(
        self,
        members: Sequence[tuple[int, Module]],
        pairs: Sequence[tuple[Module, Module]],
        device: torch.device,
        draw: int = 0,
    ) -> None:
        self.modules = [module for _, module in members]
        self.pairs = list(pairs)
        self._places = torch.tensor([place for place, _ in members])
        self._device = device
        self._fixed = FixedVectors(self.modules, device, draw)
        self._pairs = [[self.modules.index(pair[side]) for pair in pairs] for side in (0, 1)]

    def updates(self, block: Tensor, scales: Tensor | None) -> Modules:
        """The updates of these modules in a block (b, p), module by module; scales (b, modules of the layout)."""
        up = kernels.widened([_view(block, module.up) for module in self.modules])
        down = kernels.widened([_view(block, module.down).mT for module in self.modules])
        if scales is None:
            factor = torch.ones(len(up), dtype=torch.float64, device=self._device)
        else:
            factor = scales[:, self._places].T.reshape(-1).to(self._device, torch.float64)
        return Modules(up, down, factor, self._fixed)

    def of_pairs(self, updates: Modules) -> Pairs:
        """The pairs among the updates of a block, pair by pair."""
        adapters = len(updates.up) // len(self.modules)
        places = torch.arange(len(updates.up), device=self._device).unflatten(0, (-1, adapters))
        first, second = (places[side].flatten() for side in self._pairs)
        return Pairs(updates, first, second)


def module_stacks(layout: Layout, layers: Iterable[Layer], device: torch.device, draw: int = 0) -> list[ModuleStack]:
    """The modules with both sides among some layers, by rank and shape; with one of several draws of their fixed vectors."""
    places = {module: place for place, module in enumerate(layout.modules)}
    members: dict[tuple[int, ...], list[tuple[int, Module]]] = defaultdict(list)
    pairs: dict[tuple[int, ...], list[tuple[Module, Module]]] = defaultdict(list)
    chosen = complete_modules(layout, layers)
    for module in chosen:
        members[(module.rank, *module.shape)].append((places[module], module))
    known = set(chosen)
    for one, two in siblings(layout):
        if one in known and two in known:
            pairs[(one.rank, *one.shape)].append((one, two))
    return [ModuleStack(group, pairs[shape], device, draw) for shape, group in members.items()]


def _is_tall(layer: Layer) -> bool:
    return layer.shape[0] > layer.shape[1]


def _view(block: Tensor, layer: Layer) -> Tensor:
    matrices: Tensor = block[:, layer.columns].unflatten(1, layer.shape)
    return matrices
