"""Cells: one representation on one layer group, read by one classifier. Their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers import DEFAULT, Fitted
from lora_perf.classifiers.metrics import score
from lora_perf.classifiers.protocol import Setting


@dataclass(frozen=True)
class Cell:
    """One representation on one layer group, read by one classifier; `shuffled` where its labels were permuted."""

    representation: str
    group: str
    classifier: str = DEFAULT
    shuffled: bool = False

    @property
    def name(self) -> str:
        return f"{self.representation}.{self.group}.{self.classifier}" + (".shuffled" if self.shuffled else "")

    def __str__(self) -> str:
        return f"{self.representation} on {self.group}, {self.classifier}" + (", labels shuffled" if self.shuffled else "")


@dataclass(frozen=True)
class RunResult:
    """One run of a cell: metrics on the test adapters, learning curves, confusion matrix (true by predicted), predictions.

    What a classifier does not have is None (a seed), 0 (epochs) or empty (curves, a setting that it chose on the validation
    adapters).
    """

    seed: int | None
    accuracy: float
    macro_f1: float
    macro_precision: float
    macro_recall: float
    validation_accuracy: float
    best_epoch: int
    epochs: int
    seconds: float
    curves: dict[str, list[float]]
    confusion: list[list[int]]
    predictions: list[int]
    setting: Setting = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """All runs of a cell.

    Attributes:
        features: columns of the representation on this group.
        constant: names of those that do not vary on the train adapters and were left out.
        seconds: wall time of training.
        milliseconds: an adapter costs to represent, the representation and the group alone; None where it was not measured.
        note: what is special about the cell.
    """

    representation: str
    group: str
    classifier: str
    shuffled: bool
    features: int
    constant: list[str]
    seconds: float
    milliseconds: float | None
    note: str
    runs: list[RunResult]

    @property
    def cell(self) -> Cell:
        return Cell(self.representation, self.group, self.classifier, self.shuffled)

    @property
    def seeded(self) -> bool:
        """Whether its runs have seeds; of a classifier without there is a single one."""
        return self.runs[0].seed is not None

    @property
    def setting(self) -> Setting:
        """What was chosen on the validation adapters, by most of the runs."""
        settings = [run.setting for run in self.runs]
        return max(settings, key=settings.count)

    def correct(self, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(s, n_test): which test adapters each run classified rightly."""
        return np.equal([run.predictions for run in self.runs], truth)


def scored(
    cell: Cell,
    names: Sequence[str],
    learnt: Fitted,
    truth: NDArray[np.int64],
    n_classes: int,
    seconds: float,
    milliseconds: float | None,
) -> CellResult:
    """The result of a cell: what its classifier learnt of features of these names, scored on the test adapters."""
    predictions = learnt.predictions.numpy()
    scores = score(predictions, truth, n_classes)
    runs = [
        RunResult(
            accuracy=float(scores.accuracy[k]),
            macro_f1=float(scores.macro_f1[k]),
            macro_precision=float(scores.macro_precision[k]),
            macro_recall=float(scores.macro_recall[k]),
            confusion=scores.confusion[k].tolist(),
            predictions=predictions[k].tolist(),
            **vars(run),
        )
        for k, run in enumerate(learnt.runs)
    ]
    constant = [names[column] for column in learnt.dropped.tolist()]
    return CellResult(
        **vars(cell),
        features=len(names),
        constant=constant,
        seconds=seconds,
        milliseconds=milliseconds,
        note=learnt.note,
        runs=runs,
    )


def cell_from_json(
    record: Any, cell: Cell, seeds: Sequence[int | None], truth: NDArray[np.int64], n_classes: int
) -> CellResult:
    """The result of a cell that `asdict` turned into `record`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a field is missing, of another kind, or contradicts the seeds of the
            runs, the test adapters or another field.
    """
    runs = [RunResult(**{one.name: run[one.name] for one in fields(RunResult)}) for run in record["runs"]]
    result = CellResult(**{one.name: record[one.name] for one in fields(CellResult) if one.name != "runs"}, runs=runs)
    require(result.cell == cell and type(result.shuffled) is bool, "another cell")
    require([run.seed for run in runs] == list(seeds), "runs of other seeds")
    require(_is_count(result.features) and all(isinstance(name, str) for name in result.constant), "no features")
    require(_is_number(result.seconds) and isinstance(result.note, str), "no seconds or no note")
    require(result.milliseconds is None or _is_number(result.milliseconds), "no milliseconds")
    for run in runs:
        scores = (run.accuracy, run.macro_f1, run.macro_precision, run.macro_recall, run.validation_accuracy)
        require(all(_is_number(value, 1) for value in scores), "a score that is no number from 0 to 1")
        require(all(map(_is_count, (run.best_epoch, run.epochs))) and _is_number(run.seconds), "no epochs or no seconds")
        require(isinstance(run.setting, dict), "no setting")
        for curve in run.curves.values():
            require(set(map(type, curve)) <= {float}, "a curve of something else than numbers")
        require(len(run.predictions) == len(truth), "predictions of other adapters")
        require(set(map(type, run.predictions)) == {int}, "predictions of no class")
        require(min(run.predictions) >= 0 and max(run.predictions) < n_classes, "predictions of no class")
        confusion = np.zeros((n_classes, n_classes), np.int64)
        np.add.at(confusion, (truth, np.asarray(run.predictions)), 1)
        require(run.confusion == confusion.tolist(), "a confusion matrix of other predictions")
        require(abs(run.accuracy - np.trace(confusion) / len(truth)) < 1e-6, "the accuracy of other predictions")
    return result


def require(good: bool, otherwise: str) -> None:
    if not good:
        raise ValueError(otherwise)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object, most: float = np.inf) -> bool:
    return type(value) in (int, float) and 0 <= value <= most and value != np.inf  # type: ignore[operator]  # it is one
