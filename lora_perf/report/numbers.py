"""The numbers of an experiment: scores with their intervals, drops, and what they are measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers.metrics import Answers, Estimate, PairedDifference, accuracy_of, difference_of
from lora_perf.classifiers.scores import MEASURES, jackknifed
from lora_perf.core.target import Task
from lora_perf.report.cells import Asked, Cell, CellResult
from lora_perf.report.parts import MODULE, is_part
from lora_perf.report.tested import HalfDrops, Kind, Tested


@dataclass(frozen=True, eq=False)
class Numbers:
    """All cells of one experiment with what they depend on, and what follows from them.

    Attributes:
        config: the settings as plain values.
        dataset: name, fingerprint, sizes, classes and split of the zoo.
        versions, machine: of the software and the hardware.
        seconds: wall time per stage of this run (stages taken from checkpoints cost nothing).
        truth: (n_test,) labels of the test adapters, or what else was learned: numbers, several labels (n_test, l).
        cells: in the order of the plan.
        groups: the layer groups that were asked for, the reference of the drops first.
        halves: the modules of each random half of the layers, by the name that stands as group of its cells.
        rows, adapters: numbers and names of the test adapters.
        tested: the test adapters of each split by its name, those above as "".
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, str | int]
    seconds: dict[str, float]
    truth: NDArray[Any]
    cells: Sequence[CellResult]
    groups: Sequence[str]
    halves: Mapping[str, Sequence[str]]
    rows: Sequence[int] = ()
    adapters: Sequence[str] = ()
    tested: Mapping[str, Tested] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tested:
            learned = max(1, self.dataset["train"] + self.dataset["validation"])
            object.__setattr__(self, "tested", {"": Tested(self.truth, self.rows, None, learned, self.dataset["train"])})

    def cell(
        self, representation: str, group: str, classifier: str, *, shuffled: bool = False, division: str = ""
    ) -> CellResult | None:
        """One cell, where it is there."""
        return self._by_cell.get(Cell(representation, group, classifier, shuffled, division))

    @cached_property
    def first(self) -> list[CellResult]:
        """The cells of the first split on layer groups and halves, one for each row of a table."""
        return [one for one in self.cells if not one.division and not is_part(one.group)]

    def divisions(self, kind: Kind) -> list[str]:
        """The names of the splits of a kind."""
        return [name for name, one in self.tested.items() if one.kind == kind]

    @property
    def repeats(self) -> list[str]:
        """The names of the splits over which accuracies are means, "" the first."""
        return self.divisions("repeat")

    @cached_property
    def parts(self) -> list[str]:
        """The names that single modules and choices of them have as groups, where `--layers each` looked at them."""
        return list(dict.fromkeys(one.group for one in self.cells if is_part(one.group)))

    @property
    def modules(self) -> list[str]:
        """Those of single modules."""
        return [name for name in self.parts if name.startswith(MODULE)]

    def answers(
        self, representation: str, group: str, classifier: str, *, shuffled: bool = False, divisions: Sequence[str] = ()
    ) -> list[Answers]:
        """What the runs of a cell got right on the test adapters of each split that it was trained on, of all draws of its
        representation where no divisions are named.
        """
        found = []
        for name in divisions or self.repeats:
            cell = self.cell(representation, group, classifier, shuffled=shuffled, division=name)
            if cell is not None:
                of, test = self.tested[name], self.asked(self.tested[name].truth)
                draws = [cell] if divisions or shuffled else self.draws_of(cell)
                right = np.concatenate([one.gains(test) for one in draws])
                found.append(Answers(right, of.clusters, of.learned, len(draws)))
        return found

    def draws_of(self, cell: CellResult) -> list[CellResult]:
        """A cell of the first split with those of the other draws of its representation, where it has some; or it alone."""
        if cell.division or cell.shuffled:
            return [cell]
        names = (cell.representation, cell.group, cell.classifier)
        others = (self.cell(*names, division=division) for division in self.divisions("draw"))
        return [cell, *(one for one in others if one is not None)]

    def asked(self, truth: NDArray[Any]) -> Asked:
        """What was asked of some test adapters."""
        return Asked(self.task, self.dataset["classes"], truth)

    def gains(self, cell: CellResult) -> NDArray[Any]:
        """(s, n_test) which adapters of the first split each run of a cell of it got right, or what each adds to the score."""
        return cell.gains(self.asked(self.truth))

    @property
    def task(self) -> Task:
        """What was learned."""
        task: Task = self.dataset.get("task", "classes")
        return task

    @property
    def measure(self) -> str:
        """What the score is called."""
        return MEASURES[self.task]

    @cached_property
    def _by_cell(self) -> dict[Cell, CellResult]:
        return {one.cell: one for one in self.cells}

    @property
    def representations(self) -> list[str]:
        return list(dict.fromkeys(one.representation for one in self.cells))

    @property
    def classifiers(self) -> list[str]:
        return list(dict.fromkeys(one.classifier for one in self.cells))

    @property
    def seeded(self) -> list[str]:
        """The classifiers that have a run a seed."""
        return list(dict.fromkeys(one.classifier for one in self.cells if one.seeded))

    @property
    def shuffled(self) -> bool:
        """Whether some cell was trained on shuffled labels too."""
        return any(one.shuffled for one in self.cells)

    @property
    def chance(self) -> float:
        """Accuracy of always naming the commonest class of the test adapters, or the score of what else knows nothing."""
        if self.task == "classes":
            return float(np.bincount(self.truth).max() / len(self.truth))
        return float(self.dataset["baseline"]["score"])

    def chance_of(self, division: str) -> float | None:
        """The accuracy of always naming the commonest class of the test adapters of a split, where classes are learned."""
        truth = self.tested[division].truth
        return float(np.bincount(truth).max() / len(truth)) if self.task == "classes" else None

    def accuracy(
        self, representation: str, group: str, classifier: str, *, shuffled: bool = False, divisions: Sequence[str] = ()
    ) -> Estimate | None:
        """Mean test accuracy with its 95 % interval over seeds and test adapters, or over these alone for a single run.

        Args:
            divisions: splits by their names, over which the mean is; by default those that repeat the first.
        """
        found = self.answers(representation, group, classifier, shuffled=shuffled, divisions=divisions)
        return accuracy_of(found) if found else None

    def at_random(self, representation: str, group: str, classifier: str) -> Estimate | None:
        """Mean accuracy where adapters of one group may stand on both sides, beside `accuracy`, where they do not."""
        divisions = self.divisions("random")
        return self.accuracy(representation, group, classifier, divisions=divisions) if divisions else None

    def measures(self, representation: str, group: str, classifier: str) -> dict[str, Estimate]:
        """What else is measured of numbers, several labels or retrieval on the first split, with 95 % intervals."""
        cell, test = self.cell(representation, group, classifier), self.tested[""]
        if cell is None or self.task == "classes":
            return {}
        draws = self.draws_of(cell)
        runs = [run.predictions for one in draws for run in one.runs]
        return jackknifed(self.task, runs, test.truth, tuple(self.dataset["classes"]), test.clusters, len(draws))

    def drop(self, representation: str, group: str, classifier: str, *, reference: str = "") -> PairedDifference | None:
        """Accuracy on the first group, or on another as reference, less that on a group, paired by seed and test adapter."""
        whole, part = (self.answers(representation, one, classifier) for one in (reference or self.groups[0], group))
        if len(self.repeats) > 1 and not len(whole) == len(part) == len(self.repeats):  # halves have one split alone
            whole, part = whole[:1], part[:1]
        if whole and part and whole[0].draws != part[0].draws:  # halves are made of the first draw alone
            whole, part = (
                self.answers(representation, one, classifier, divisions=[""]) for one in (reference or self.groups[0], group)
            )
        return difference_of(whole, part) if whole and part else None

    def drop_to_halves(self, representation: str, classifier: str) -> HalfDrops | None:
        """Accuracy on the first group less that on random halves of it, as large as the second group, beside that on this."""
        drops = [self.drop(representation, half, classifier) for half in self.halves]
        means = [drop.mean for drop in drops if drop]
        group = self.drop(representation, self.groups[1], classifier) if means else None
        if group is None:
            return None
        above = sum(mean >= group.mean for mean in means)
        return HalfDrops(float(np.mean(means)), min(means), max(means), len(means), above)

    def mean(self, one: CellResult) -> float:
        """The mean accuracy of a cell alone."""
        return float(np.mean(one.gains(self.asked(self.tested[one.division].truth))))

    def told(self, one: CellResult) -> tuple[Estimate | None, PairedDifference | None, HalfDrops | None]:
        """The accuracy of a cell, what it drops from the first group, where labels are true, and what that drops to halves.

        None for the accuracy on a part whose adapters are all of one group, as those of a fold may be: there is its mean alone.
        """
        compared = one.group != self.groups[0] and not one.shuffled and not one.division
        drop = self.drop(one.representation, one.group, one.classifier) if compared else None
        beside = compared and one.group in self.groups[1:2]
        halves = self.drop_to_halves(one.representation, one.classifier) if beside else None
        divisions = (one.division,) if one.division else ()
        answers = self.answers(one.representation, one.group, one.classifier, shuffled=one.shuffled, divisions=divisions)
        several = all(each.clusters is None or len(np.unique(each.clusters)) > 1 for each in answers)
        return accuracy_of(answers) if several else None, drop, halves
