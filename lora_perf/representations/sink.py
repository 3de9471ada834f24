"""What one streamed pass fills: the tables of all that is wanted, stack by stack of each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Features, Part, concatenate
from lora_perf.core.layout import Layer, Module
from lora_perf.core.stored import StoredValues
from lora_perf.core.zoo import Zoo
from lora_perf.representations import REPRESENTATIONS, Matrices, Modules, Representation
from lora_perf.representations.door import called
from lora_perf.representations.entries import standing
from lora_perf.representations.kinds import Concatenation, Entries, PerMatrix, PerModule, places_of
from lora_perf.representations.registry import USERS
from lora_perf.representations.stacks import LayerStack, ModuleStack, layer_stacks, module_stacks


class Sink:
    """The tables that the pass fills, and the features made of them."""

    def __init__(
        self, zoo: Zoo, wanted: list[Representation], layers: Sequence[Layer], device: torch.device, draw: int
    ) -> None:
        self._zoo = zoo
        self._layers = layers
        parts = [part for one in wanted for part in ([one] if one.parts == (one.name,) else REPRESENTATIONS.resolve(one.parts))]
        parts.sort(key=lambda part: part.family == USERS)  # what a function may write into is not what others are made of
        self._parts = {part.name: part.describe(zoo.layout, layers) or () for part in parts}
        self._of_matrices = {part.name: part for part in parts if isinstance(part, PerMatrix)}
        self._of_modules = {part.name: part for part in parts if isinstance(part, PerModule)}
        self._layer_stacks = layer_stacks(layers, device) if self._of_matrices else []
        self._module_stacks = module_stacks(zoo.layout, layers, device, draw) if self._of_modules else []
        self._tables = {
            name: torch.empty(
                (len(zoo), sum(len(part.names) for part in self._parts[name])), dtype=torch.float32, device=device
            )
            for name in (*self._of_matrices, *self._of_modules)
        }
        self._columns = {part.name: _columns(self._parts[part.name]) for part in parts if self._is_placed(part)}
        self._entries: Tensor | StoredValues | None = None
        self._copies_entries = False
        if any(isinstance(part, Entries) for part in parts):
            self._entries = standing(zoo, layers, device)
            self._copies_entries = self._entries is None
            if self._copies_entries:
                self._entries = torch.empty((len(zoo), sum(layer.size for layer in layers)), dtype=torch.float32, device=device)

    @staticmethod
    def _is_placed(one: Representation) -> bool:
        """Whether its columns are sought layer by layer; the package's own are the same for all layers."""
        return isinstance(one, PerModule) or (isinstance(one, PerMatrix) and one.family == USERS)

    def take(self, rows: slice, block: Tensor) -> None:
        """Computes what is wanted of a block (b, p), stack by stack, so that temporaries are those of one stack."""
        if self._copies_entries and isinstance(self._entries, Tensor):
            self._entries[rows] = torch.cat([block[:, layer.columns] for layer in self._layers], dim=1)
        for layers in self._layer_stacks:
            self._take_matrices(rows, layers, layers.matrices(block))
        scales = None if self._zoo.scales is None else self._zoo.scales[rows]
        for modules in self._module_stacks:
            self._take_updates(rows, modules, modules.updates(block, scales))

    def _take_matrices(self, rows: slice, stack: LayerStack, matrices: Matrices) -> None:
        for name, one in self._of_matrices.items():
            if one.family != USERS:  # the same features of every layer
                features = one.function(matrices).unflatten(0, (rows.stop - rows.start, len(stack.layers)))
                self._tables[name][rows].unflatten(1, (len(self._layers), -1)).index_copy_(1, stack.places, features)
                continue
            places = [self._zoo.layout.indices([layer]) for layer in stack.layers]
            if width := self._width(one, places):
                values = self._called(one, matrices, width, rows, stack.layers).unflatten(0, (-1, len(places)))
                self._write(name, rows, places, values.transpose(0, 1).flatten(0, 1))

    def _take_updates(self, rows: slice, stack: ModuleStack, updates: Modules) -> None:
        layout = self._zoo.layout
        for name, one in self._of_modules.items():
            if one.family == USERS or one.features(stack.modules[0]):
                places = [places_of(layout, module) for module in stack.modules]
                if one.family != USERS:
                    self._write(name, rows, places, one.function(updates))
                elif width := self._width(one, places):
                    self._write(name, rows, places, self._called(one, updates, width, rows, stack.modules))
            if one.of_pairs is not None and stack.pairs:
                places = [places_of(layout, *pair) for pair in stack.pairs]
                self._write(name, rows, places, one.of_pairs(stack.of_pairs(updates)))

    def _called(
        self, one: PerMatrix | PerModule, batch: Any, width: int, rows: slice, members: Sequence[Layer | Module]
    ) -> Tensor:
        """What a user's function makes: adapter by adapter of layers, module by module of updates."""

        def where(i: int) -> str:
            of_layers = isinstance(one, PerMatrix)
            row, member = divmod(i, len(members)) if of_layers else divmod(i, rows.stop - rows.start)[::-1]
            return f"{self._zoo.called(rows.start + row)}, {'layer' if of_layers else 'module'} {members[member].name}"

        return called(one, batch, width, where)

    def _width(self, one: PerMatrix | PerModule, places: list[tuple[int, ...]]) -> int:
        """How many features each of these has, 0 where none has any."""
        columns = self._columns[one.name]
        widths = {columns[place].stop - columns[place].start for place in places if place in columns}
        if len(widths) > 1:
            raise LoraPerfError(
                expected=f"as many features of {one.name} for all layers of one shape, also transposed",
                found=listed(sorted(widths)),
                fix="let the names depend on the shape alone, or name none for some layers",
            )
        return max(widths, default=0)

    def _write(self, name: str, rows: slice, places: list[tuple[int, ...]], features: Tensor) -> None:
        """Writes features (places b, f), place by place, into the columns of their places."""
        for place, of_place in zip(places, features.unflatten(0, (len(places), -1)), strict=True):
            if place in self._columns[name]:
                self._tables[name][rows, self._columns[name][place]] = of_place

    def features(self, one: Representation) -> Features:
        if isinstance(one, Concatenation):
            return concatenate({part.name: self.features(part) for part in REPRESENTATIONS.resolve(one.parts)})
        if isinstance(one, Entries):
            assert self._entries is not None
            return Features(self._entries, self._zoo.layout, self._parts[one.name], self._zoo.given_names)
        return Features(self._tables[one.name], self._zoo.layout, self._parts[one.name], self._zoo.given_names)


def _columns(parts: Sequence[Part]) -> dict[tuple[int, ...], slice]:
    """Which columns stand for which layers."""
    found: dict[tuple[int, ...], slice] = {}
    start = 0
    for part in parts:
        found[part.layers] = slice(start, start + len(part.names))
        start += len(part.names)
    return found
