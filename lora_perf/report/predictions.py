"""What each run said of each test adapter: in memory, as a data frame, and as predictions.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.errors import listed
from lora_perf.core.target import Task
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
        classes: the names that the indices below stand for, or of several labels.
        truth: (n_test,) class indices, numbers, or (n_test, l) of several labels.
        cells: the class indices (s, n_test) that the runs of each cell predicted, numbers, scores of several labels (s, n_test,
            l), or the average precision of what was found.
        seeds: of these runs; None for a classifier without a seed.
        task: what was learned.
    """

    adapters: Sequence[str]
    rows: Sequence[int]
    classes: Sequence[str]
    truth: NDArray[Any]
    cells: dict[Cell, NDArray[Any]]
    seeds: dict[Cell, Sequence[int | None]]
    task: Task = "classes"

    def __len__(self) -> int:
        return len(self.truth)

    def __repr__(self) -> str:
        told = f"of {self.task}"
        if self.task == "classes":
            wrong = np.logical_and.reduce([(said != self.truth).all(axis=0) for said in self.cells.values()])
            misread = [self.adapters[place] for place in np.flatnonzero(wrong).tolist()]
            told = f"{len(misread):,} of them misread by all" if misread else "none of them misread by all"
            told += f": {listed(misread, 5)}" * bool(misread)
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
            "truth": self._frame_column([self.told_truth] * times),
            **{name: repeated([getattr(cell, name) for cell, _, _ in said]) for name in names},
            "shuffled": np.repeat([cell.shuffled for cell, _, _ in said], n),
            "seed": pd.array([seed for _, seed, _ in said], dtype="Int64").repeat(n),
            "prediction": self._frame_column([self._told(guess) for _, _, guess in said]),
        }
        return pd.DataFrame(columns)

    def _frame_column(self, parts: Sequence[NDArray[Any]]) -> Any:
        import pandas as pd

        values = np.concatenate(parts)
        named = self.task in ("classes", "several") or (self.task == "retrieval" and values.dtype.kind == "i")
        return pd.Categorical.from_codes(values, self.classes) if named else values

    @property
    def told_truth(self) -> NDArray[Any]:
        """(n_test,) classes or numbers; of several labels the first that an adapter has."""
        return self._told(self.truth)

    def _told(self, values: NDArray[Any]) -> NDArray[Any]:
        """(n,) what was said of each adapter: of several labels the one of the highest score, of retrieval its precision."""
        if self.task == "several":
            return np.asarray(values.argmax(axis=-1))
        return np.asarray(values[..., 0] if self.task == "retrieval" and values.ndim > 1 else values)

    def commonest(self, cell: Cell) -> NDArray[Any]:
        """(n_test,) the class that most runs of a cell named, of equally many the first, or the mean of what they said."""
        runs = self.cells[cell]
        if self.task != "classes":
            return self._told(runs.mean(axis=0))
        counts = np.zeros((len(self), len(self.classes)), np.int32)
        for guess in runs:
            counts[np.arange(len(self)), guess] += 1
        most: NDArray[np.int64] = counts.argmax(axis=1)
        return most


def write_predictions(found: Predictions, folder: Path) -> None:
    """Writes predictions.csv, whole or not at all: a row an adapter, so that it stays small; `to_frame` has every run.

    Columns: adapter, row, part, truth; then for each cell the class that most of its runs named and, where it has several
    runs, how many were right; or the mean of the numbers that they gave, the label of the highest score, the average precision.
    Names stand as `csv_cell` writes them.
    """
    names = [csv_cell(name) for name in found.classes]

    def shown(values: NDArray[Any]) -> list[object]:
        return [names[c] for c in values.tolist()] if values.dtype.kind == "i" and names else [f"{v:.6g}" for v in values]

    titles = ["adapter", "row", "part", "truth"]
    columns: list[Sequence[object]] = [[csv_cell(name) for name in found.adapters], found.rows, [PART] * len(found)]
    columns.append(shown(found.told_truth))
    for cell, runs in found.cells.items():
        titles.append(str(csv_cell(cell.name)))
        columns.append(shown(found.commonest(cell)))
        if len(runs) > 1 and found.task == "classes":
            titles.append(str(csv_cell(f"{cell.name} right of {len(runs)}")))
            columns.append((runs == found.truth).sum(axis=0).tolist())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    writer.writerows(zip(*columns, strict=True))
    with store.replacing(folder / "predictions.csv") as file:
        file.write(text.getvalue().encode())
