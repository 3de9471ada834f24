"""Cells: one representation on one layer group, read by one classifier. Their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lora_perf.classifiers.metrics import score
from lora_perf.classifiers.perceptron.runs import TrainedRuns
from lora_perf.classifiers.probes import Probed, Setting

NO_INFORMATION = "no information: constant"


@dataclass(frozen=True)
class Cell:
    """One representation on one layer group, read by one classifier; `shuffled` where its labels were permuted."""

    representation: str
    group: str
    classifier: str = "mlp"
    shuffled: bool = False

    @property
    def name(self) -> str:
        return f"{self.representation}.{self.group}.{self.classifier}" + (".shuffled" if self.shuffled else "")

    def __str__(self) -> str:
        return f"{self.representation} on {self.group}, {self.classifier}" + (", labels shuffled" if self.shuffled else "")


@dataclass(frozen=True)
class RunResult:
    """One run of a cell: metrics on the test adapters, learning curves, confusion matrix (true by predicted), predictions.

    A probe has no seed (None), no epochs and no curves, but the setting that it chose on the validation adapters.
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
        seconds: wall time of training and scoring.
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

    def correct(self, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(s, n_test): which test adapters each run classified rightly."""
        return np.equal([run.predictions for run in self.runs], truth)


@dataclass(frozen=True, eq=False)
class Subject:
    """What the results of a cell are about: its features and the test adapters."""

    cell: Cell
    names: tuple[str, ...]
    milliseconds: float | None
    truth: NDArray[np.int64]
    n_classes: int

    def of_perceptrons(self, trained: TrainedRuns, seconds: float) -> CellResult:
        """The record of a cell whose perceptrons are trained."""
        rest = [
            {
                "seed": seed,
                "validation_accuracy": trained.validation_accuracy[k],
                "best_epoch": trained.best_epoch[k],
                "epochs": trained.epochs_run[k],
                "seconds": trained.seconds[k],
                "curves": {name: [float(x) for x in curve] for name, curve in asdict(trained.curves[k]).items()},
            }
            for k, seed in enumerate(trained.seeds)
        ]
        return self._result(trained.predictions.cpu().numpy(), rest, trained.dropped, seconds)

    def of_probe(self, probed: Probed, dropped: torch.Tensor, seconds: float) -> CellResult:
        """The record of a cell whose probe is fitted."""
        rest = _untrained(None, probed.validation_accuracy) | {"seconds": probed.seconds, "setting": probed.setting}
        return self._result(probed.predictions[None], [rest], dropped, seconds)

    def of_nothing(self, seeds: Sequence[int | None], commonest: int, validation_accuracy: float) -> CellResult:
        """The record of a cell whose features are all constant: it always names the commonest class of the train adapters."""
        predictions = np.full((len(seeds), len(self.truth)), commonest)
        rest = [_untrained(seed, validation_accuracy) for seed in seeds]
        return self._result(predictions, rest, torch.arange(len(self.names)), 0.0, NO_INFORMATION)

    def _result(
        self, predictions: ArrayLike, rest: list[dict[str, Any]], dropped: torch.Tensor, seconds: float, note: str = ""
    ) -> CellResult:
        """The record of runs with predictions (s, n_test); `rest` holds the fields of each run that are no scores."""
        scores = score(predictions, self.truth, self.n_classes)
        runs = [
            RunResult(
                accuracy=float(scores.accuracy[k]),
                macro_f1=float(scores.macro_f1[k]),
                macro_precision=float(scores.macro_precision[k]),
                macro_recall=float(scores.macro_recall[k]),
                confusion=scores.confusion[k].tolist(),
                predictions=np.asarray(predictions)[k].tolist(),
                **one,
            )
            for k, one in enumerate(rest)
        ]
        constant = [self.names[column] for column in dropped.tolist()]
        cell = self.cell
        return CellResult(
            cell.representation,
            cell.group,
            cell.classifier,
            cell.shuffled,
            len(self.names),
            constant,
            seconds,
            self.milliseconds,
            note,
            runs,
        )


def _untrained(seed: int | None, validation_accuracy: float) -> dict[str, Any]:
    """The fields of a run without epochs."""
    nothing: dict[str, Any] = {"best_epoch": 0, "epochs": 0, "seconds": 0.0, "curves": {}}
    return nothing | {"seed": seed, "validation_accuracy": validation_accuracy}


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
    _require(result.cell == cell and type(result.shuffled) is bool, "another cell")
    _require([run.seed for run in runs] == list(seeds), "runs of other seeds")
    _require(_is_count(result.features) and all(isinstance(name, str) for name in result.constant), "no features")
    _require(_is_number(result.seconds) and isinstance(result.note, str), "no seconds or no note")
    _require(result.milliseconds is None or _is_number(result.milliseconds), "no milliseconds")
    for run in runs:
        scores = (run.accuracy, run.macro_f1, run.macro_precision, run.macro_recall, run.validation_accuracy)
        _require(all(_is_number(value, 1) for value in scores), "a score that is no number from 0 to 1")
        _require(all(map(_is_count, (run.best_epoch, run.epochs))) and _is_number(run.seconds), "no epochs or no seconds")
        _require(isinstance(run.setting, dict), "no setting")
        for curve in run.curves.values():
            _require(set(map(type, curve)) <= {float}, "a curve of something else than numbers")
        _require(len(run.predictions) == len(truth), "predictions of other adapters")
        _require(set(map(type, run.predictions)) == {int}, "predictions of no class")
        _require(min(run.predictions) >= 0 and max(run.predictions) < n_classes, "predictions of no class")
        confusion = np.zeros((n_classes, n_classes), np.int64)
        np.add.at(confusion, (truth, np.asarray(run.predictions)), 1)
        _require(run.confusion == confusion.tolist(), "a confusion matrix of other predictions")
        _require(abs(run.accuracy - np.trace(confusion) / len(truth)) < 1e-6, "the accuracy of other predictions")
    return result


def _require(good: bool, otherwise: str) -> None:
    if not good:
        raise ValueError(otherwise)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object, most: float = np.inf) -> bool:
    return type(value) in (int, float) and 0 <= value <= most and value != np.inf  # type: ignore[operator]  # it is one
