"""Adam for a first layer that is too wide for its gradient to be held: made, used and forgotten tile by tile.

A gradient of 512 x 99,648 is 204 MB that would be written and read again in each step. A tile of some rows of it stays in the
caches of a core, beside the weights and moments of these rows, which are read and written once.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lora_perf.classifiers.perceptron.network import Perceptron

_ROWS = 256  # of a product: fewer take longer each
_TILE = 1 << 21  # entries that are updated at a time


class Rate(Protocol):
    """Whose learning rate counts."""

    lr: float


class FirstLayer:
    """The step of Adam on the first weights (h, f) of a single run, from the gradient of their outputs and their inputs.

    The same numbers as Adam on the whole gradient.

    Args:
        dtype: of the products; where it is another one than that of the weights, their shadow is written too.
    """

    def __init__(self, net: Perceptron, rate: Rate, weight_decay: float, dtype: torch.dtype) -> None:
        weight = net.weights[0][0]
        self._rate, self._weight = rate, weight
        self._product = torch.empty(_ROWS, weight.shape[1], dtype=dtype)
        self._gradient: Tensor | None = None
        self._shadow: Tensor | None = None
        step = max(1, _TILE // weight.shape[1])
        if dtype != weight.dtype:
            self._gradient = torch.empty(step, weight.shape[1], dtype=weight.dtype)
            net.shadows[0] = weight[None].to(dtype)
            self._shadow = net.shadows[0][0]
        else:
            step = _ROWS  # the product is the gradient
        self._parts: list[tuple[slice, list[tuple[slice, torch.optim.Adam]]]] = []
        for start in range(0, len(weight), _ROWS):
            rows = range(start, min(start + _ROWS, len(weight)))
            tiles = [slice(first, min(first + step, rows.stop)) for first in rows[::step]]
            self._parts.append(
                (slice(rows.start, rows.stop), [(tile, self._adam(tile, start, weight_decay)) for tile in tiles])
            )

    def _adam(self, rows: slice, start: int, weight_decay: float) -> torch.optim.Adam:
        tile = self._weight[rows]
        of_tile = self._product[rows.start - start :] if self._gradient is None else self._gradient
        tile.grad = of_tile[: len(tile)]
        return torch.optim.Adam([tile], self._rate.lr, weight_decay=weight_decay, fused=True)

    def __call__(self, gradient: Tensor, source: Tensor) -> None:
        """One step. Shapes: gradient (b, h) of the outputs, source (b, f) the inputs, both in the type of the products."""
        for part, tiles in self._parts:
            product = self._product[: part.stop - part.start]
            torch.mm(gradient[:, part].T, source, out=product)
            for rows, optimiser in tiles:
                if self._gradient is not None:
                    tile = product[rows.start - part.start : rows.stop - part.start]
                    self._gradient[: len(tile)].copy_(tile)
                optimiser.param_groups[0]["lr"] = self._rate.lr
                optimiser.step()
                if self._shadow is not None:
                    self._shadow[rows].copy_(self._weight[rows])

    def release(self) -> None:
        """Lets go of the moments, which optimisers else keep until the next collection of garbage."""
        for _, tiles in self._parts:
            for _, optimiser in tiles:
                optimiser.state.clear()
                optimiser.param_groups.clear()
