"""Another zoo beside the one that is learned from: its adapters are tested, by what was learned there and by what is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.joining import JoinedZoo
from lora_perf.core.target import column_of, is_missing, known_rows, target_of
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig


@dataclass(frozen=True, eq=False)
class Transfer:
    """The parts of two zoos that became one.

    Attributes:
        own: how many adapters, the first of all, are of the zoo that is learned from.
        name: of the zoo that is tested on.
        splits: each zoo's own split, where it has one.
        left_out: how many adapters of the second were left out, since their class is none of the first.
        unknown: these classes.
    """

    own: int
    name: str
    splits: tuple[Tensor | None, Tensor | None]
    left_out: int
    unknown: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {"name": self.name, "left_out": self.left_out, "unknown": list(self.unknown)}


def joined(config: ExperimentConfig, first: Zoo, second: Zoo) -> tuple[Zoo, Transfer]:
    """Two zoos as one, without adapters of which nothing can be asked.

    Raises:
        LoraPerfError: layers that only one has, or no adapter of the second with a class of the first.
    """
    columns = [name for name in (config.target, config.group_column) if name is not None]
    if config.skip_missing and columns:
        first, second = (_known(one, columns) for one in (first, second))
    of_first, of_second = (_classes(config, one, first) for one in (first, second))
    left_out = 0
    unknown: tuple[str, ...] = ()
    if of_first is not None and of_second is not None:
        known = set(of_first)
        rows = [row for row, value in enumerate(of_second) if value in known]
        unknown = tuple(sorted(set(of_second) - known))
        left_out = len(second) - len(rows)
        if not rows:
            raise LoraPerfError(
                expected=f"adapters of {second.name} with a class of {first.name} ({listed(sorted(known), 5)})",
                found=f"none; theirs are {listed(unknown, 5)}",
                fix="name classes alike in both, or test on another data set",
            )
        second = second if not left_out else second.select(rows)
    return JoinedZoo(first, second), Transfer(len(first), second.name, (first.split, second.split), left_out, unknown)


def _known(zoo: Zoo, columns: Sequence[str]) -> Zoo:
    rows = known_rows(zoo, columns)
    return zoo if len(rows) == len(zoo) or not rows else zoo.select(rows)


def _classes(config: ExperimentConfig, zoo: Zoo, first: Zoo) -> list[str] | None:
    """(n) what each adapter is called to be, where classes are learned."""
    if config.target is None:
        return [zoo.classes[label] for label in zoo.required_labels.tolist()]
    values = column_of(zoo, config.target, "target")
    if target_of(first, config.target, config.task).task not in ("classes", "retrieval"):
        return None
    return ["" if is_missing(value) else str(value) for value in values]
