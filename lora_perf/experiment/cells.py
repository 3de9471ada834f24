"""Cells: one representation on one layer group. Their results, and the checkpoints that keep them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from lora_perf import store
from lora_perf.classifier import TrainedRuns
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.layout import Layer
from lora_perf.metrics import score
from lora_perf.provenance import code_version
from lora_perf.split import Split


@dataclass(frozen=True)
class Cell:
    """One representation on one layer group."""

    representation: str
    group: str

    @property
    def name(self) -> str:
        return f"{self.representation}.{self.group}"


@dataclass(frozen=True)
class RunResult:
    """One seed of a cell: metrics on the test adapters, learning curves, confusion matrix (true by predicted), predictions."""

    seed: int
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


@dataclass(frozen=True)
class CellResult:
    """All runs of a cell.

    Attributes:
        features: columns of the representation on this group.
        constant: names of those that do not vary on the train adapters and were left out.
        seconds: wall time of training and scoring.
    """

    representation: str
    group: str
    features: int
    constant: list[str]
    seconds: float
    runs: list[RunResult]

    @property
    def cell(self) -> Cell:
        return Cell(self.representation, self.group)

    def correct(self, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(s, n_test): which test adapters each run classified rightly."""
        return np.equal([run.predictions for run in self.runs], truth)


def result_of(
    cell: Cell, trained: TrainedRuns, truth: torch.Tensor, n_classes: int, names: tuple[str, ...], seconds: float
) -> CellResult:
    """The record of a trained cell; `names` are those of its features, `truth` the labels (n_test,) of the test rows."""
    predictions = trained.predictions.cpu().numpy()
    scores = score(predictions, truth.numpy(), n_classes)
    runs = [
        RunResult(
            seed=seed,
            accuracy=float(scores.accuracy[k]),
            macro_f1=float(scores.macro_f1[k]),
            macro_precision=float(scores.macro_precision[k]),
            macro_recall=float(scores.macro_recall[k]),
            validation_accuracy=trained.validation_accuracy[k],
            best_epoch=trained.best_epoch[k],
            epochs=trained.epochs_run[k],
            seconds=trained.seconds[k],
            curves={name: [float(x) for x in curve] for name, curve in asdict(trained.curves[k]).items()},
            confusion=scores.confusion[k].tolist(),
            predictions=predictions[k].tolist(),
        )
        for k, seed in enumerate(trained.seeds)
    ]
    constant = [names[column] for column in trained.dropped.tolist()]
    return CellResult(cell.representation, cell.group, len(names), constant, seconds, runs)


class Checkpoints:
    """Finished cells in a folder, each under a key of everything that its numbers depend on.

    Args:
        folder: one file a cell.
        config: the settings, of which those that shape a number count.
        fingerprint: of the zoo.
        split: the rows of each part.
        device: results of a GPU and of a CPU are kept apart.
    """

    def __init__(self, folder: Path, config: ExperimentConfig, fingerprint: str, split: Split, device: torch.device) -> None:
        self.folder = folder
        rows = xxhash.xxh3_128()
        for part in (split.train, split.validation, split.test):
            rows.update(part.numpy().tobytes() + b"/")
        training = asdict(config.training)
        self._identity = [fingerprint, training, list(config.seeds), rows.hexdigest(), device.type, code_version()]

    def key(self, cell: Cell, layers: tuple[Layer, ...]) -> str:
        """A hash of settings, data, split, code and cell."""
        identity = [*self._identity, cell.representation, cell.group, [layer.name for layer in layers]]
        return xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())

    def load(self, cell: Cell, layers: tuple[Layer, ...]) -> CellResult | None:
        """The finished cell of these very settings, data and code, or None."""
        try:
            saved = json.loads((self.folder / f"{cell.name}.json").read_bytes())
            if saved["key"] != self.key(cell, layers):
                return None
            return cell_from_json(saved["cell"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, result: CellResult, layers: tuple[Layer, ...]) -> None:
        """Keeps a finished cell, whole or not at all."""
        record = {"key": self.key(result.cell, layers), "cell": asdict(result)}
        with store.replacing(self.folder / f"{result.cell.name}.json") as file:
            file.write(json.dumps(record, separators=(",", ":")).encode())


def cell_from_json(record: dict[str, Any]) -> CellResult:
    """The CellResult that `asdict` turned into `record`; raises TypeError or KeyError where a field is missing."""
    runs = [RunResult(**{one.name: run[one.name] for one in fields(RunResult)}) for run in record["runs"]]
    return CellResult(**{one.name: record[one.name] for one in fields(CellResult) if one.name != "runs"}, runs=runs)
