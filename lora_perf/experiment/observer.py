"""What is told of an experiment while it runs."""

from __future__ import annotations

from typing import Protocol

from lora_perf.core.split import Split
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.plan import Plan, PlannedCell
from lora_perf.report.cells import CellResult


class Observer(Protocol):
    """Whoever wants to know."""

    def opened(self, zoo: Zoo, split: Split, plan: Plan, taken: int) -> None:
        """The zoo is open; `taken` cells were finished before."""

    def representing(self, names: list[str], total: int) -> None:
        """A streamed pass over `total` adapters begins."""

    def represented(self, count: int) -> None:
        """`count` more adapters are done."""

    def started(self, planned: PlannedCell) -> None:
        """Training of a cell begins."""

    def fitting(self, name: str, group: str) -> None:
        """A learned representation of a layer group is fitted."""

    def epoch(self, seed: int, epoch: int, accuracy: float) -> None:
        """One run of the cell ended an epoch."""

    def finished(self, result: CellResult) -> None:
        """A cell is trained, scored and saved."""
