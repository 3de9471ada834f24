"""The results of an experiment: what is written, and the numbers that tables and figures show."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers.metrics import Estimate, PairedDifference, accuracy, paired_difference
from lora_perf.core.text import csv_cell
from lora_perf.io import store
from lora_perf.report.cells import Cell, CellResult

_CSV_COLUMNS = (
    "seed",
    "accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "validation_accuracy",
    "best_epoch",
    "epochs",
    "seconds",
)


@dataclass(frozen=True)
class HalfDrops:
    """Drops of accuracy to several random halves: their mean, the smallest and the largest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Results:
    """All cells of one experiment with what they depend on.

    Attributes:
        config: the settings as plain values.
        dataset: name, fingerprint, sizes, classes and split of the zoo.
        versions, machine: of the software and the hardware.
        seconds: wall time per stage of this run (stages taken from checkpoints cost nothing).
        truth: (n_test,) labels of the test adapters.
        cells: in the order of the plan.
        groups: the layer groups that were asked for, the reference of the drops first.
        halves: the modules of each random half of the layers, by the name that stands as group of its cells.
        rows, adapters: numbers and names of the test adapters.
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, str | int]
    seconds: dict[str, float]
    truth: NDArray[np.int64]
    cells: Sequence[CellResult]
    groups: Sequence[str]
    halves: Mapping[str, Sequence[str]]
    rows: Sequence[int] = ()
    adapters: Sequence[str] = ()

    def cell(self, representation: str, group: str, classifier: str, *, shuffled: bool = False) -> CellResult | None:
        """One cell, where it is there."""
        return self._by_cell.get(Cell(representation, group, classifier, shuffled))

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
    def shuffled(self) -> bool:
        """Whether some cell was trained on shuffled labels too."""
        return any(one.shuffled for one in self.cells)

    @property
    def chance(self) -> float:
        """Accuracy of always naming the commonest class of the test adapters."""
        return float(np.bincount(self.truth).max() / len(self.truth))

    def accuracy(self, representation: str, group: str, classifier: str, *, shuffled: bool = False) -> Estimate | None:
        """Mean test accuracy with its 95 % interval over seeds and test adapters, or over these alone for a single run."""
        cell = self.cell(representation, group, classifier, shuffled=shuffled)
        return accuracy(cell.correct(self.truth)) if cell else None

    def drop(self, representation: str, group: str, classifier: str) -> PairedDifference | None:
        """Accuracy on the first group less that on another one, paired by seed and test adapter."""
        whole, part = (self.cell(representation, one, classifier) for one in (self.groups[0], group))
        return paired_difference(whole.correct(self.truth), part.correct(self.truth)) if whole and part else None

    def drop_to_halves(self, representation: str, classifier: str) -> HalfDrops | None:
        """Accuracy on the first group less that on random halves of it, as large as the second group."""
        drops = [self.drop(representation, half, classifier) for half in self.halves]
        means = [drop.mean for drop in drops if drop]
        return HalfDrops(float(np.mean(means)), min(means), max(means)) if means else None

    def to_json(self) -> dict[str, Any]:
        cells = []
        first, second = self.groups[0], self.groups[1:2]
        for one in self.cells:
            estimate = self.accuracy(one.representation, one.group, one.classifier, shuffled=one.shuffled)
            compared = one.group != first and not one.shuffled
            drop = self.drop(one.representation, one.group, one.classifier) if compared else None
            halves = self.drop_to_halves(one.representation, one.classifier) if compared and one.group in second else None
            summary = {
                "accuracy": asdict(estimate) if estimate else None,
                "interval_over": "seeds and test adapters" if len(one.runs) > 1 else "test adapters",
                f"drop_from_{first}": asdict(drop) if drop else None,
                "drop_to_halves": asdict(halves) if halves else None,
            }
            cells.append({**asdict(one), **summary})
        return {
            "config": self.config,
            "dataset": self.dataset,
            "versions": self.versions,
            "machine": self.machine,
            "seconds": self.seconds,
            "chance": self.chance,
            "halves": {name: list(modules) for name, modules in self.halves.items()},
            "test_labels": self.truth.tolist(),
            "test_rows": list(self.rows),
            "test_adapters": list(self.adapters),
            "cells": cells,
        }


def write_results(results: Results, folder: Path) -> None:
    """Writes results.json, which holds names as they are, and results.csv (see `csv_cell`), each whole or not at all."""
    with store.replacing(folder / "results.json") as file:
        file.write(json.dumps(results.to_json(), indent=1).encode())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["representation", "group", "classifier", "shuffled", "features", *_CSV_COLUMNS])
    for cell in results.cells:
        for run in cell.runs:
            values = [getattr(run, column) for column in _CSV_COLUMNS]
            about = [cell.representation, cell.group, cell.classifier, cell.shuffled, cell.features]
            writer.writerow(map(csv_cell, [*about, *values]))
    with store.replacing(folder / "results.csv") as file:
        file.write(text.getvalue().encode())
