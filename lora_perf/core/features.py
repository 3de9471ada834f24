"""Features: what a representation makes of a zoo, one row an adapter, each column tied to the layers it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring columns that came from the same layers: they are chosen together, and only with all of these layers.

    Attributes:
        layers: positions in the layout: one layer, or the two of a module, or those of several modules.
        title: what the columns are about: the name of the layer or of the module.
        names: of the features, one a column.
    """

    layers: tuple[int, ...]
    title: str
    names: tuple[str, ...]

    def prefixed(self, name: str) -> Part:
        """The part as it is called in a concatenation."""
        return replace(self, names=tuple(f"{name}.{feature}" for feature in self.names))


@dataclass(frozen=True, eq=False)
class Features:
    """A matrix (n, f) of features that knows the layers of each column.

    Attributes:
        values: (n, f) float32.
        layout: the layout of the zoo.
        parts: which columns came from which layers, in column order.
        layers: (f,) int64, the position in `layout` of the layer, or of the first of the layers, that each column came from.
        names: of the columns, `<layer or module>/<feature>`.
    """

    values: Tensor
    layout: Layout
    parts: tuple[Part, ...]

    @cached_property
    def layers(self) -> NDArray[np.int64]:
        return np.repeat([min(part.layers) for part in self.parts], self._widths).astype(np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{part.title}/{name}" for part in self.parts for name in part.names)

    @cached_property
    def _widths(self) -> list[int]:
        return [len(part.names) for part in self.parts]

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def select(self, layers: Sequence[Layer]) -> Features:
        """The columns of some layers, in their present order; all layers give the features themselves.

        A column that came from several layers is chosen where all of them are: features of dW = s B A need both sides.

        Raises:
            LoraPerfError: no column came from these layers alone.
        """
        wanted = set(self.layout.indices(layers))
        chosen = [wanted.issuperset(part.layers) for part in self.parts]
        if all(chosen):
            return self
        if not any(chosen):
            raise no_columns(layers)
        columns = np.flatnonzero(np.repeat(chosen, self._widths))
        values = self.values.index_select(1, torch.from_numpy(columns).to(self.values.device))
        kept = tuple(part for part, good in zip(self.parts, chosen, strict=True) if good)
        return Features(values, self.layout, kept)


def no_columns(layers: Iterable[Layer], title: str = "these features") -> LoraPerfError:
    """What to tell where a choice of layers leaves no column: it holds one side of each module, or too few modules."""
    found = [layer.name for layer in layers]
    return LoraPerfError(
        expected=f"layers that {title} can be made of (those of dW = s B A need both the up and the down of a module; "
        "layer_coupling needs an update as wide as it is tall, or two neighbours of one shape)",
        found=listed(found, 2) if found else "none",
        fix="choose a layer group with both sides, such as all, visual or attn2.to_v, or representations of the factors",
    )


def concatenate(features: Mapping[str, Features]) -> Features:
    """The columns of several representations of one zoo side by side, named `<layer>/<representation>.<feature>`."""
    (first, *_) = features.values()
    parts = tuple(part.prefixed(name) for name, one in features.items() for part in one.parts)
    return Features(torch.cat([one.values for one in features.values()], dim=1), first.layout, parts)
