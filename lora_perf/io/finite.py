"""A zoo without the adapters that hold a NaN or infinity: for users who would rather go on than repair."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Skipped, Zoo

_log = logging.getLogger(__name__)


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
        good[row] = not zoo.non_finite(row)
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
    left = zoo.select(good)
    left.skipped = tuple(sorted(skipped, key=lambda one: one.path.split("/")))
    if zoo.labels is not None and left.labels is not None:
        left.labels, left.classes = _of_those_left(zoo.labels, left.labels, zoo.classes)
    return left


def _skipped(zoo: Zoo, row: int) -> Skipped:
    name = zoo.names[row] if zoo.named else zoo.called(row)
    faults = zoo.non_finite(row)
    return Skipped(name, " in layer ".join(faults[0]) if faults else "a scale that is NaN or infinite")


def _of_those_left(whole: Tensor, labels: Tensor, classes: list[str]) -> tuple[Tensor, list[str]]:
    """Labels and classes, without classes that lost all their adapters."""
    before, after = (torch.bincount(some, minlength=len(classes)) > 0 for some in (whole, labels))
    stay = after | ~before
    places = torch.cumsum(stay, 0) - 1
    return places[labels], [name for name, kept in zip(classes, stay.tolist(), strict=True) if kept]
