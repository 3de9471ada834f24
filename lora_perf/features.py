"""Features: what a representation makes of a zoo, one row an adapter, each column tied to its layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.layout import Layer, Layout


@dataclass(frozen=True, eq=False)
class Features:
    """A matrix (n, f) of features that knows the layer of each column.

    Attributes:
        values: (n, f) float32.
        layout: the layout of the zoo.
        layers: (f,) int64, the position in `layout` of the layer that each column came from.
        parts: the names of the features of one layer and the position of that layer, in column order;
            `names` spells them out as `<layer>/<feature>`.
    """

    values: Tensor
    layout: Layout
    parts: tuple[tuple[int, tuple[str, ...]], ...]

    @cached_property
    def layers(self) -> NDArray[np.int64]:
        return np.repeat([index for index, _ in self.parts], [len(names) for _, names in self.parts]).astype(np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.layout.layers[index].name}/{name}" for index, names in self.parts for name in names)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def select(self, layers: Sequence[Layer]) -> Features:
        """The columns of some layers, in their present order; all layers give the features themselves."""
        wanted = set(self.layout.indices(layers))
        if wanted >= {index for index, _ in self.parts}:
            return self
        columns = np.flatnonzero(np.isin(self.layers, list(wanted)))
        values = self.values.index_select(1, torch.from_numpy(columns).to(self.values.device))
        return Features(values, self.layout, tuple(part for part in self.parts if part[0] in wanted))


def concatenate(features: Mapping[str, Features]) -> Features:
    """The columns of several representations of one zoo side by side, named `<layer>/<representation>.<feature>`."""
    (first, *_) = features.values()
    parts = [
        (layer, tuple(f"{name}.{feature}" for feature in names)) for name, one in features.items() for layer, names in one.parts
    ]
    return Features(torch.cat([one.values for one in features.values()], dim=1), first.layout, tuple(parts))
