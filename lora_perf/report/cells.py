"""Cells: one representation on one layer group, read by one classifier. Their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers import DEFAULT, Fitted
from lora_perf.classifiers.metrics import score
from lora_perf.classifiers.permuted import Permuted
from lora_perf.classifiers.protocol import Setting
from lora_perf.classifiers.scores import further, gains
from lora_perf.core.target import Task
from lora_perf.report.maps import ZooMap, map_from_json


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of the test adapters of a split.

    Attributes:
        task: what is learned.
        names: of the classes or labels.
        truth: (n_test,) classes or numbers, (n_test, l) of several labels.
    """

    task: Task
    names: Sequence[str]
    truth: NDArray[Any]


@dataclass(frozen=True)
class Cell:
    """One representation on one layer group, read by one classifier; `shuffled` where its labels were permuted, `division`
    names the split that it is trained and tested on where that is another than the first.
    """

    representation: str
    group: str
    classifier: str = DEFAULT
    shuffled: bool = False
    division: str = ""

    @property
    def name(self) -> str:
        parts = (self.representation, self.group, self.classifier, "shuffled" * self.shuffled, self.division)
        return ".".join(filter(None, parts))

    def __str__(self) -> str:
        beside = [self.classifier, *["labels shuffled"] * self.shuffled, *filter(None, [self.division])]
        return f"{self.representation} on {self.group}, {', '.join(beside)}"


@dataclass(frozen=True)
class RunResult:
    """One run of a cell: metrics on the test adapters, learning curves, confusion matrix (true by predicted), predictions.

    What a classifier does not have is None (a seed), 0 (epochs) or empty (curves, a setting that it chose on the validation
    adapters). Where something else than classes is learned, `accuracy` and `validation_accuracy` are the score of that (see
    `classifiers.scores`), macro means are None, and there is no confusion.
    """

    seed: int | None
    accuracy: float
    macro_f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    validation_accuracy: float
    best_epoch: int
    epochs: int
    seconds: float
    curves: dict[str, list[float]]
    confusion: list[list[int]]
    predictions: list[Any]
    setting: Setting = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """All runs of a cell.

    Attributes:
        features: columns of the representation on this group.
        constant: names of those that do not vary on the train adapters and were left out.
        seconds: wall time of training.
        milliseconds: an adapter costs to represent, the representation and the group alone; None where it was not measured.
        note: what is special about the cell.
        permuted: what the classifier scores of permuted labels; None where it was not tried.
        map: where adapters stand by the features; of the strongest cell alone.
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
    division: str = ""
    permuted: Permuted | None = None
    map: ZooMap | None = None

    @property
    def cell(self) -> Cell:
        return Cell(self.representation, self.group, self.classifier, self.shuffled, self.division)

    @property
    def seeded(self) -> bool:
        """Whether its runs have seeds; of a classifier without there is a single one."""
        return self.runs[0].seed is not None

    @property
    def setting(self) -> Setting:
        """What was chosen on the validation adapters, by most of the runs."""
        settings = [run.setting for run in self.runs]
        return max(settings, key=settings.count)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it. The map has thousands of numbers, which `asdict` would copy one by one."""
        return asdict(replace(self, map=None)) | {"map": None if self.map is None else vars(self.map)}

    def gains(self, test: Asked) -> NDArray[Any]:
        """(s, n_test): which test adapters each run classified rightly, or what each adds to the score."""
        return gains(test.task, [run.predictions for run in self.runs], test.truth)


def scored(
    cell: Cell,
    names: Sequence[str],
    learnt: Fitted,
    test: Asked,
    seconds: float,
    milliseconds: float | None,
) -> CellResult:
    """The result of a cell: what its classifier learnt of features of these names, scored on the test adapters."""
    predictions = learnt.predictions.numpy()
    tables = _of_classes(predictions, test) if test.task == "classes" else _of_others(predictions, test)
    runs = [
        RunResult(**table, measures=measures, predictions=predictions[k].tolist(), **vars(run))
        for k, (run, (table, measures)) in enumerate(zip(learnt.runs, tables, strict=True))
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


def _of_classes(predictions: NDArray[Any], test: Asked) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """Scores of each run and its confusion."""
    scores = score(predictions, test.truth, len(test.names))
    for k in range(len(predictions)):
        yield (
            {
                "accuracy": float(scores.accuracy[k]),
                "macro_f1": float(scores.macro_f1[k]),
                "macro_precision": float(scores.macro_precision[k]),
                "macro_recall": float(scores.macro_recall[k]),
                "confusion": scores.confusion[k].tolist(),
            },
            {},
        )


def _of_others(predictions: NDArray[Any], test: Asked) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """The score of each run, and what else is measured."""
    for run in predictions:
        value = float(gains(test.task, run[None], test.truth).mean())
        none: dict[str, Any] = {"macro_f1": None, "macro_precision": None, "macro_recall": None, "confusion": []}
        yield {"accuracy": value, **none}, further(test.task, run, test.truth, tuple(test.names))


def cell_from_json(record: Any, cell: Cell, seeds: Sequence[int | None], test: Asked) -> CellResult:
    """The result of the cell whose `plain` is `record`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a field is missing, of another kind, or contradicts the seeds of the
            runs, the test adapters or another field.
    """
    runs = [RunResult(**{one.name: run[one.name] for one in fields(RunResult)}) for run in record["runs"]]
    tried, drawn = record["permuted"], record["map"]
    told = {one.name: record[one.name] for one in fields(CellResult) if one.name not in ("runs", "permuted", "map")}
    result = CellResult(
        **told,
        runs=runs,
        permuted=None if tried is None else Permuted(**tried),
        map=None if drawn is None else map_from_json(drawn),
    )
    require(result.cell == cell and type(result.shuffled) is bool, "another cell")
    require([run.seed for run in runs] == list(seeds), "runs of other seeds")
    require(_is_count(result.features) and all(isinstance(name, str) for name in result.constant), "no features")
    require(_is_number(result.seconds) and isinstance(result.note, str), "no seconds or no note")
    if result.permuted is not None:
        require(_is_count(result.permuted.count) and _is_number(result.permuted.p, 1), "no permutations")
        require(type(result.permuted.mean) in (int, float), "no score of permutations")
    require(result.milliseconds is None or _is_number(result.milliseconds), "no milliseconds")
    for run in runs:
        require(set(map(type, run.measures.values())) <= {float, int}, "a measure that is no number")
        require(all(map(_is_count, (run.best_epoch, run.epochs))) and _is_number(run.seconds), "no epochs or no seconds")
        require(isinstance(run.setting, dict), "no setting")
        for curve in run.curves.values():
            require(set(map(type, curve)) <= {float}, "a curve of something else than numbers")
        require(len(run.predictions) == len(test.truth), "predictions of other adapters")
        (_check_classes if test.task == "classes" else _check_others)(run, test)
    return result


def _check_classes(run: RunResult, test: Asked) -> None:
    scores = (run.accuracy, run.macro_f1, run.macro_precision, run.macro_recall, run.validation_accuracy)
    require(all(_is_number(value, 1) for value in scores), "a score that is no number from 0 to 1")
    n_classes = len(test.names)
    require(set(map(type, run.predictions)) == {int}, "predictions of no class")
    require(min(run.predictions) >= 0 and max(run.predictions) < n_classes, "predictions of no class")
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (test.truth, np.asarray(run.predictions)), 1)
    require(run.confusion == confusion.tolist(), "a confusion matrix of other predictions")
    require(abs(run.accuracy - np.trace(confusion) / len(test.truth)) < 1e-6, "the accuracy of other predictions")


def _check_others(run: RunResult, test: Asked) -> None:
    found = np.asarray(run.predictions)
    shape = test.truth.shape if test.task == "several" else (len(test.truth), *((2,) if test.task == "retrieval" else ()))
    require(found.shape == shape and found.dtype.kind in "fi" and bool(np.isfinite(found).all()), "predictions of no number")
    require(type(run.validation_accuracy) in (int, float) and run.validation_accuracy <= 1, "a score of more than 1")
    value = float(gains(test.task, found[None], test.truth).mean())
    require(abs(run.accuracy - value) < 1e-6 * max(1.0, abs(value)), "the score of other predictions")


def require(good: bool, otherwise: str) -> None:
    if not good:
        raise ValueError(otherwise)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object, most: float = np.inf) -> bool:
    return type(value) in (int, float) and 0 <= value <= most and value != np.inf  # type: ignore[operator]  # it is one
