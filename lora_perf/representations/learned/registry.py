"""The registry of learned representations: one dict, filled by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.representations.learned.task import Task

Fit = Callable[[Task], Tensor]


@dataclass(frozen=True)
class Learned:
    """A representation that is fitted on train rows.

    Attributes:
        name: the key.
        fit: task -> features (n, d) of all rows, on the device of the task.
        of_updates: whether it sees whole modules, the factors of dW = s B A, and not just columns of the rows.
        mixed_ranks: whether adapters of different ranks can be compared: only where the result does not depend on
            which rank stands in which column.
    """

    name: str
    fit: Fit
    of_updates: bool
    mixed_ranks: bool


LEARNED: dict[str, Learned] = {}


def learned(name: str, *, of_updates: bool = False, mixed_ranks: bool = False) -> Callable[[Fit], Fit]:
    """Enters a function of a task -> (n, d) under its name."""

    def enter(fit: Fit) -> Fit:
        LEARNED[name] = Learned(name, fit, of_updates, mixed_ranks)
        return fit

    return enter


def resolve(name: str) -> Learned:
    """The learned representation of a name.

    Raises:
        LoraPerfError: the name is unknown; the known ones are listed.
    """
    if name not in LEARNED:
        raise LoraPerfError(
            expected=f"a learned representation ({listed(LEARNED, 40)})", found=repr(name), fix="choose among these"
        )
    return LEARNED[name]
