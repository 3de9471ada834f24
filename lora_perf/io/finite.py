"""A zoo without the adapters that hold a NaN or infinity: for users who would rather go on than repair."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import FloatRows, RowSource, Skipped, Zoo

_log = logging.getLogger(__name__)


class ChosenRows(RowSource):
    """Some rows of another source, in their order there."""

    def __init__(self, source: RowSource, rows: NDArray[np.int64]) -> None:
        self.n, self.p = len(rows), source.p
        self.divisible = source.divisible
        self._source = source
        self._rows = rows

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        rows = self._rows[start:stop]
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        done = 0
        for end in ends:  # one call a run of neighbours
            if end > done:
                self._source.read(int(rows[done]), int(rows[end - 1]) + 1, out[done:end])
            done = end


def without_non_finite(zoo: Zoo) -> Zoo:
    """The zoo without adapters that hold a NaN or infinity, each with a warning and listed in `Zoo.skipped`.

    Cost: one pass over the weights.

    Raises:
        LoraPerfError: no adapter is left.
    """
    good = torch.ones(len(zoo), dtype=torch.bool)
    for rows, block in zoo.blocks():
        good[rows] = torch.isfinite(block.sum(dim=1))
    for row in torch.nonzero(~good)[:, 0].tolist():  # the sum of large entries may overflow where none is at fault
        good[row] = zoo.non_finite(row) is None
    if zoo.scales is not None:
        good &= torch.isfinite(zoo.scales).all(dim=1)
    if bool(good.all()):
        return zoo
    bad = torch.nonzero(~good)[:, 0].tolist()
    skipped = [*zoo.skipped, *(_skipped(zoo, row) for row in bad)]
    for one in skipped[len(zoo.skipped) :]:
        _log.warning("left out: %s: %s", one.path, one.reason)
    if len(bad) == len(zoo):
        raise LoraPerfError(
            expected=f"at least one adapter in {zoo.name} of finite weights",
            found=f"{len(bad)} with a NaN or infinity, such as {zoo.called(0)}",
            fix="train or fetch them again",
        )
    left = torch.nonzero(good)[:, 0]
    labels, classes = _of_those_left(zoo, left)
    return Zoo(
        ChosenRows(zoo.source, left.numpy()),
        zoo.layout,
        labels,
        classes,
        split=None if zoo.split is None else zoo.split[left],
        name=zoo.name,
        scales=None if zoo.scales is None else zoo.scales[left],
        ranks=None if zoo.ranks is None else zoo.ranks[left],
        skipped=sorted(skipped, key=lambda one: one.path.split("/")),
        names=None if zoo.names is None else [zoo.names[row] for row in left.tolist()],
    )


def _skipped(zoo: Zoo, row: int) -> Skipped:
    name = zoo.called(row) if zoo.names is None else zoo.names[row]
    fault = zoo.non_finite(row)
    return Skipped(name, " in ".join(fault) if fault else "a scale that is NaN or infinite")


def _of_those_left(zoo: Zoo, rows: Tensor) -> tuple[Tensor, list[str]]:
    """Labels and classes, without classes that lost all their adapters."""
    labels = zoo.labels[rows]
    before, after = (torch.bincount(some, minlength=len(zoo.classes)) > 0 for some in (zoo.labels, labels))
    stay = after | ~before
    places = torch.cumsum(stay, 0) - 1
    return places[labels], [name for name, kept in zip(zoo.classes, stay.tolist(), strict=True) if kept]
