"""The results of an experiment: what is written, and the numbers that tables and figures show."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf import store
from lora_perf.experiment.cells import CellResult
from lora_perf.metrics import Estimate, PairedDifference, accuracy, paired_difference

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
        groups: the layer groups, the reference of the drops first.
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, str | int]
    seconds: dict[str, float]
    truth: NDArray[np.int64]
    cells: Sequence[CellResult]
    groups: Sequence[str]

    def cell(self, representation: str, group: str) -> CellResult | None:
        """One cell, where it is there."""
        return next((one for one in self.cells if one.representation == representation and one.group == group), None)

    @property
    def representations(self) -> list[str]:
        return list(dict.fromkeys(one.representation for one in self.cells))

    @property
    def chance(self) -> float:
        """Accuracy of always naming the commonest class of the test adapters."""
        return float(np.bincount(self.truth).max() / len(self.truth))

    def accuracy(self, representation: str, group: str) -> Estimate | None:
        """Mean test accuracy with its 95 % interval over seeds and test adapters."""
        cell = self.cell(representation, group)
        return accuracy(cell.correct(self.truth)) if cell else None

    def drop(self, representation: str, group: str) -> PairedDifference | None:
        """Accuracy on the first group less that on another one, paired by seed and test adapter."""
        whole, part = self.cell(representation, self.groups[0]), self.cell(representation, group)
        return paired_difference(whole.correct(self.truth), part.correct(self.truth)) if whole and part else None

    def to_json(self) -> dict[str, Any]:
        cells = []
        for one in self.cells:
            estimate = self.accuracy(one.representation, one.group)
            drop = self.drop(one.representation, one.group) if one.group != self.groups[0] else None
            summary = {
                "accuracy": asdict(estimate) if estimate else None,
                f"drop_from_{self.groups[0]}": asdict(drop) if drop else None,
            }
            cells.append({**asdict(one), **summary})
        return {
            "config": self.config,
            "dataset": self.dataset,
            "versions": self.versions,
            "machine": self.machine,
            "seconds": self.seconds,
            "chance": self.chance,
            "test_labels": self.truth.tolist(),
            "cells": cells,
        }


def write_results(results: Results, folder: Path) -> None:
    """Writes results.json and results.csv, each whole or not at all."""
    with store.replacing(folder / "results.json") as file:
        file.write(json.dumps(results.to_json(), indent=1).encode())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["representation", "group", "features", *_CSV_COLUMNS])
    for cell in results.cells:
        for run in cell.runs:
            values = [getattr(run, column) for column in _CSV_COLUMNS]
            writer.writerow([cell.representation, cell.group, cell.features, *values])
    with store.replacing(folder / "results.csv") as file:
        file.write(text.getvalue().encode())
