"""Zoos that hold adapters a second time, in other gauges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lora_perf.audit.gauges import GAUGES, Gauge, regauged
from lora_perf.core.layout import Layer
from lora_perf.core.rows import gathered
from lora_perf.core.zoo import FloatRows, RowSource, Zoo

_BATCH = 256  # adapters: modules of so many, in float64, are some megabytes


class GaugedRows(RowSource):
    """Some adapters of a zoo in another gauge, computed in float64 and rounded to float32 when they are read."""

    def __init__(self, zoo: Zoo, gauge: Gauge, adapters: Tensor, seed: int) -> None:
        self.n, self.p = len(adapters), zoo.layout.p
        self._zoo, self._gauge, self._adapters, self._seed = zoo, gauge, adapters, seed

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        zoo = self._zoo
        for begin in range(start, stop, _BATCH):
            adapters = self._adapters[begin : min(begin + _BATCH, stop)]
            rows = torch.from_numpy(out[begin - start :][: len(adapters)])
            rows[:] = torch.from_numpy(gathered(zoo.source, adapters.numpy()))
            for pair in regauged(rows, zoo.layout, self._gauge, adapters, self._seed, _chosen(zoo.ranks, adapters)):
                rows[:, pair.module.up.columns] = pair.up.flatten(1).float()
                rows[:, pair.module.down.columns] = pair.down.flatten(1).float()


class StackedRows(RowSource):
    """The rows of several sources of one layout below each other."""

    def __init__(self, sources: Sequence[RowSource]) -> None:
        self.n, self.p = sum(one.n for one in sources), sources[0].p
        self._sources = list(sources)

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        top = 0
        for one in self._sources:
            first, last = max(start, top), min(stop, top + one.n)
            if first < last:
                one.read(first - top, last - top, out[first - start : last - start])
            top += one.n


def with_gauges(zoo: Zoo, adapters: Tensor, seed: int) -> Zoo:
    """A zoo of all n adapters, and below them some of them again, once in every gauge of GAUGES.

    Shapes: adapters (t,) row numbers; row n + g t + i of the new zoo is adapter i of them in gauge g.
    """
    again = torch.cat([torch.arange(len(zoo)), adapters.repeat(len(GAUGES))])
    return Zoo(
        StackedRows([zoo.source, *(GaugedRows(zoo, one, adapters, seed) for one in GAUGES.values())]),
        zoo.layout,
        _chosen(zoo.labels, again),
        zoo.classes,
        name=zoo.name,
        scales=_chosen(zoo.scales, again),
        ranks=_chosen(zoo.ranks, again),
    )


def rounding(zoo: Zoo, gauge: Gauge, adapters: Tensor, seed: int, layers: Sequence[Layer]) -> Tensor:
    """How far the updates of some adapters move because B G and G^-1 A are rounded to float32: |dW' - dW| / |dW|.

    dW is the update of all modules with a side among the layers, taken together. With the errors e of the rounded factors
    dW' - dW = s (e_B A' + B G e_A), so that no two nearly equal products are subtracted.

    Shapes: adapters (t,) row numbers; the result (t,) float64, 0 where dW is.
    """
    wanted = set(layers)
    found = []
    for batch in adapters.split(_BATCH):
        rows = torch.from_numpy(gathered(zoo.source, batch.numpy()))
        moved, whole = torch.zeros((2, len(batch)), dtype=torch.float64)
        scales = _chosen(zoo.scales, batch)
        for pair in regauged(rows, zoo.layout, gauge, batch, seed, _chosen(zoo.ranks, batch)):
            if not {pair.module.up, pair.module.down} & wanted:
                continue
            squared = 1.0 if scales is None else scales[:, pair.place].double().square()
            up, down = pair.up.float().double(), pair.down.float().double()
            errors = _squared(torch.cat([up - pair.up, pair.up], dim=2), torch.cat([down, down - pair.down], dim=1))
            moved += squared * errors
            whole += squared * _squared(pair.up, pair.down)
        found.append(torch.where(whole > 0, moved / whole, 0).sqrt())
    return torch.cat(found)


def _squared(up: Tensor, down: Tensor) -> Tensor:
    """(b,) squared Frobenius norms of products of (b, m, r) and (b, r, k)."""
    return ((up.mT @ up) * (down @ down.mT)).sum(dim=(1, 2)).clamp_(min=0)


def _chosen(table: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if table is None else table[rows]
