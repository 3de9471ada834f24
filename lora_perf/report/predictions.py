"""What each run said of each test adapter: in memory, as a data frame, and as predictions.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.errors import listed
from lora_perf.core.text import counted, csv_cell
from lora_perf.io import store
from lora_perf.report.cells import Cell

if TYPE_CHECKING:
    import pandas

PART = "test"  # the part of the split that predictions are about


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """What each run of each cell said of each test adapter.

    Attributes:
        adapters, rows: names and numbers of the test adapters.
        classes: the names that the indices below stand for.
        truth: (n_test,) class indices.
        cells: the class indices (s, n_test) that the runs of each cell predicted.
        seeds: of these runs; None for a classifier without a seed.
    """

    adapters: Sequence[str]
    rows: Sequence[int]
    classes: Sequence[str]
    truth: NDArray[np.int64]
    cells: dict[Cell, NDArray[np.int64]]
    seeds: dict[Cell, Sequence[int | None]]

    def __len__(self) -> int:
        return len(self.truth)

    def __repr__(self) -> str:
        wrong = np.logical_and.reduce([(said != self.truth).all(axis=0) for said in self.cells.values()])
        misread = [self.adapters[place] for place in np.flatnonzero(wrong).tolist()]
        told = f"{len(misread):,} of them misread by all: {listed(misread, 5)}" if misread else "none of them misread by all"
        runs = sum(map(len, self.cells.values()))
        cells = counted(len(self.cells), "cell")
        return f"Predictions({counted(len(self), 'test adapter')}, {counted(runs, 'run')} of {cells}; {told})"

    def to_frame(self) -> pandas.DataFrame:
        """A row for each test adapter and run: adapter, row, part, truth, the names of the cell, seed, prediction."""
        import pandas as pd

        said = [
            (cell, seed, guess) for cell, runs in self.cells.items() for seed, guess in zip(self.seeds[cell], runs, strict=True)
        ]
        n, times = len(self), len(said)
        names = ("representation", "group", "classifier")

        def repeated(values: Sequence[object]) -> pandas.Categorical:
            """A value for each run, repeated for all test adapters; their names are few, so that each is kept once."""
            codes, known = pd.factorize(np.array(values, object))
            return pd.Categorical.from_codes(np.repeat(codes, n), known)

        adapters, known = pd.factorize(np.array(self.adapters, object))
        columns: dict[str, object] = {
            "adapter": pd.Categorical.from_codes(np.tile(adapters, times), known),
            "row": np.tile(np.array(self.rows, np.int64), times),
            "part": pd.Categorical.from_codes(np.zeros(n * times, np.int8), [PART]),
            "truth": pd.Categorical.from_codes(np.tile(self.truth, times), self.classes),
            **{name: repeated([getattr(cell, name) for cell, _, _ in said]) for name in names},
            "shuffled": np.repeat([cell.shuffled for cell, _, _ in said], n),
            "seed": pd.array([seed for _, seed, _ in said], dtype="Int64").repeat(n),
            "prediction": pd.Categorical.from_codes(np.concatenate([guess for _, _, guess in said]), self.classes),
        }
        return pd.DataFrame(columns)

    def commonest(self, cell: Cell) -> NDArray[np.int64]:
        """(n_test,) the class that most runs of a cell named, of equally many the first."""
        runs = self.cells[cell]
        counts = np.zeros((len(self), len(self.classes)), np.int32)
        for guess in runs:
            counts[np.arange(len(self)), guess] += 1
        most: NDArray[np.int64] = counts.argmax(axis=1)
        return most


def write_predictions(found: Predictions, folder: Path) -> None:
    """Writes predictions.csv, whole or not at all: a row an adapter, so that it stays small; `to_frame` has every run.

    Columns: adapter, row, part, truth; then for each cell the class that most of its runs named and, where it has several
    runs, how many were right. Names stand as `csv_cell` writes them.
    """
    names = [csv_cell(name) for name in found.classes]
    titles = ["adapter", "row", "part", "truth"]
    columns: list[Sequence[object]] = [[csv_cell(name) for name in found.adapters], found.rows, [PART] * len(found)]
    columns.append([names[c] for c in found.truth.tolist()])
    for cell, runs in found.cells.items():
        titles.append(str(csv_cell(cell.name)))
        columns.append([names[c] for c in found.commonest(cell).tolist()])
        if len(runs) > 1:
            titles.append(str(csv_cell(f"{cell.name} right of {len(runs)}")))
            columns.append((runs == found.truth).sum(axis=0).tolist())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    writer.writerows(zip(*columns, strict=True))
    with store.replacing(folder / "predictions.csv") as file:
        file.write(text.getvalue().encode())
