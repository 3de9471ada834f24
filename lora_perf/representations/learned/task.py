"""What a learned representation is fitted on: the chosen columns of a zoo, and which of its rows are for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lora_perf.core.layout import Layer, Module
from lora_perf.core.zoo import Zoo
from lora_perf.representations.registry import refuse_non_finite

# Eigenvectors of the inner products of more adapters than this take hours and tens of gigabytes: 10,000 of them are a table
# of 0.8 GB. A random subset of so many leaves the leading components as they are, up to its sampling error.
LANDMARKS = 10_000
# Of float64 entries at a time: with 10,000 landmarks still 1,677 columns, 6.7 kB next to each other in the file of a zoo.
_CHUNK_NBYTES = 128 << 20


@dataclass(frozen=True)
class Task:
    """One fit.

    Attributes:
        zoo: n adapters.
        layers: the chosen ones, in layout order.
        modules: those of `layout.modules` with both layers among them, and their positions in it.
        train: (n_train,) int64, ascending, the rows that may be looked at.
        seed: of everything random.
        device: where to compute.
        dimensions: d, the number of features, or None for the representation's own choice.
        trained: whether a network is trained, or left as it starts, as a control.
    """

    zoo: Zoo
    layers: tuple[Layer, ...]
    modules: tuple[tuple[int, Module], ...]
    train: Tensor
    seed: int
    device: torch.device
    dimensions: int | None
    trained: bool = True

    @cached_property
    def landmarks(self) -> Tensor:
        """The train rows, or a seeded subset of LANDMARKS of them, ascending."""
        if len(self.train) <= LANDMARKS:
            return self.train
        generator = torch.Generator().manual_seed(self.seed)
        return self.train[torch.randperm(len(self.train), generator=generator)[:LANDMARKS].sort().values]

    @cached_property
    def p(self) -> int:
        """Parameters of an adapter in the chosen layers."""
        return sum(layer.size for layer in self.layers)

    def chunks(self) -> Iterator[slice]:
        """Column ranges that cover the chosen layers, each so thin that its landmarks are a chunk."""
        width = max(1, _CHUNK_NBYTES // (8 * len(self.landmarks)))
        for start, stop in _joined(self.layers):
            for begin in range(start, stop, width):
                yield slice(begin, min(begin + width, stop))

    def entries(self, rows: Tensor, columns: slice, dtype: torch.dtype = torch.float64) -> Tensor:
        """The entries of some rows in some columns, a copy (rows, columns) on the device."""
        found = self._matrix[:, columns].index_select(0, rows).to(dtype)
        if not torch.isfinite(found.sum(dtype=torch.float64)):
            for row in rows[~torch.isfinite(found).all(dim=1)].tolist():
                refuse_non_finite(self.zoo, row)
        return found.to(self.device)

    def whole(self, rows: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """All chosen entries of some rows, a copy (rows, p) on the device."""
        return torch.cat([self.entries(rows, columns, dtype) for columns in self.chunks()], dim=1)

    def tiles(self, rows: Tensor | None, width: int) -> Iterator[Tensor]:
        """Some rows (all, where None) in pieces of which `width` columns are at most a chunk."""
        every = torch.arange(len(self.zoo)) if rows is None else rows
        yield from every.split(max(1, _CHUNK_NBYTES // (8 * width)))

    def scales(self, rows: Tensor, place: int) -> Tensor:
        """s (rows,) float64 of one module of `layout.modules`."""
        if self.zoo.scales is None:
            return torch.ones(len(rows), dtype=torch.float64, device=self.device)
        return self.zoo.scales[rows, place].to(self.device, torch.float64)

    @cached_property
    def _matrix(self) -> Tensor:
        """All rows: mapped, or in memory. `Zoo.rows` refuses mixed ranks, whose padded rows only whole modules may use."""
        return self.zoo.rows if self.zoo.ranks is None else torch.from_numpy(self.zoo.source.matrix())


def _joined(layers: tuple[Layer, ...]) -> list[tuple[int, int]]:
    """Column ranges of layers, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for layer in layers:
        if ranges and ranges[-1][1] == layer.start:
            ranges[-1] = (ranges[-1][0], layer.stop)
        else:
            ranges.append((layer.start, layer.stop))
    return ranges
