"""The results of an experiment as they are shown and written."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.tables import Table, page
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.report.canvas import drawing
from lora_perf.report.cells import CellResult
from lora_perf.report.figures import figures
from lora_perf.report.files import write
from lora_perf.report.frames import Of, cell_rows, run_rows
from lora_perf.report.numbers import Numbers
from lora_perf.report.predictions import Predictions
from lora_perf.report.studies import Study, studies
from lora_perf.report.summary import results_table
from lora_perf.report.wording import with_interval

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

TINY = "tested on train rows"  # a zoo too small to be divided


class Results(Numbers):
    """All cells of one experiment with what they depend on: numbers, tables, figures and files.

    >>> import lora_perf, tempfile
    >>> results = lora_perf.experiment.run("digits", representations=["stats"], layer_groups=["all", "up"], classifiers=["knn"])
    >>> results.to_frame("runs")[["representation", "group", "classifier", "seed"]].values.tolist()
    [['stats', 'all', 'knn', <NA>], ['stats', 'up', 'knn', <NA>]]
    >>> len(results.predictions), results.table().columns
    (200, ['representation', 'classifier', 'all', 'p to best', 'up', 'drop to up', 'p', 'seconds'])
    >>> results.cell("stats", "up", "knn").features, results.accuracy("stats", "all", "knn").mean > results.chance
    (84, True)
    >>> results.drop("stats", "up", "knn").p > 0, results.plot("drop").axes[0].get_xlabel() != ""
    (True, True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = results.save(folder)
    ...     lora_perf.Results.load(folder).to_json() == results.to_json()
    True

    Its fields, and the numbers that follow from them, are those of `Numbers`.
    """

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """The results of an output folder, or of a results.json, also those of earlier versions.

        Raises:
            LoraPerfError: there is none, or it is not whole, or contradicts itself.
        """
        from lora_perf.report.reading import read_results

        return read_results(Path(path).expanduser())

    def save(self, folder: str | Path) -> list[str]:
        """Writes the report that the command writes: summary, numbers, predictions, figures; returns the names of the files.

        Raises:
            LoraPerfError: a file cannot be written; a figure that cannot be drawn is a warning.
        """
        return write(self, Path(folder).expanduser())

    def to_frame(self, of: Of = "cells") -> pandas.DataFrame:
        """A data frame with a row for each of the cells, for each of the `runs`, or for each test adapter and run.

        Raises:
            LoraPerfError: `of` is none of cells, runs, predictions.
        """
        import pandas as pd

        if of not in get_args(Of):
            raise LoraPerfError(expected=f"a frame of {listed(get_args(Of))}", found=repr(of), fix="choose one of these")
        if of == "predictions":
            return self.predictions.to_frame()
        table = pd.DataFrame(list(run_rows(self) if of == "runs" else cell_rows(self)))
        return table.astype({"seed": "Int64"}) if of == "runs" else table

    def table(self) -> Table:
        """Mean accuracies with their intervals, drops and controls, to be printed or shown in a notebook."""
        return results_table(self)

    def studies(self) -> list[Study]:
        """What stands beside the table of groups where it was asked for: single modules, fewer adapters, another zoo."""
        return self._studies

    @cached_property
    def _studies(self) -> list[Study]:
        return studies(self)

    def to_html(self) -> str:
        """One page that needs no network: what was found, numbers, figures, settings; what report.html holds."""
        from lora_perf.report.page import html_page

        return html_page(self)

    def plot(self, kind: Literal["accuracy", "drop"] = "accuracy") -> Figure:
        """The figure of accuracies, or of drops from the first group to the others; pyplot knows nothing of it.

        Raises:
            LoraPerfError: another kind, or a drop where there is a single group.
        """
        known = figures(self)
        if kind not in known:
            raise LoraPerfError(
                expected=f"a figure of these results ({listed(known)})",
                found=repr(kind),
                fix="choose one of these; a drop needs several layer groups",
            )
        with drawing():
            return known[kind]()

    @cached_property
    def predictions(self) -> Predictions:
        """What each run said of each test adapter."""
        count = len(self.truth)
        return Predictions(
            adapters=self.adapters or [f"test adapter {place}" for place in range(count)],  # records of before name none
            rows=self.rows or [-1] * count,
            classes=self.dataset["classes"],
            truth=self.truth,
            task=self.task,
            cells={one.cell: np.array([run.predictions for run in one.runs]) for one in self.first},
            seeds={one.cell: [run.seed for run in one.runs] for one in self.first},
        )

    def __repr__(self) -> str:
        return "\n".join([self._title(), *(f"  {line}" for line in self._best())])

    def _repr_html_(self) -> str:
        return page(self._title(), [], [self.table()])

    def _title(self) -> str:
        data = self.dataset
        warned = f", {TINY}" * data["resubstitution"]
        return (
            f"Results of {printable(data['name'], LONGEST)}: {counted(len(self.first), 'cell')}, "
            f"{len(self.truth):,} of {counted(data['adapters'], 'adapter')} tested, chance {self.chance:.3f}{warned}"
        )

    def _best(self, most: int = 3) -> list[str]:
        """The cells of the highest accuracy, with their intervals."""
        told: list[tuple[float, str]] = []
        for cell in self.first:
            one = self.accuracy(cell.representation, cell.group, cell.classifier)
            if one and not cell.shuffled:
                runs = counted(len(cell.runs), "run")
                told.append((-one.mean, f"{cell.cell}: {with_interval(one)}, {runs}"))
        told.sort(key=itemgetter(0))
        lines = [printable(line, LONGEST) for _, line in told[:most]]
        return lines + [f"and {len(told) - most} more: see table()"] * (len(told) > most)

    def to_json(self) -> dict[str, Any]:
        cells = []
        for one in self.cells:
            estimate, drop, halves = self.told(one)
            summary = {
                "accuracy": asdict(estimate) if estimate else {"mean": self.mean(one)},
                "interval_over": self._over(one),
                f"drop_from_{self.groups[0]}": asdict(drop) if drop else None,
                "drop_to_halves": asdict(halves) if halves else None,
            }
            cells.append({**one.plain(), **summary})
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
            "divisions": {name: one.plain() for name, one in self.tested.items()},
            "cells": cells,
        }

    def _over(self, one: CellResult) -> str:
        """What the interval of a cell's accuracy is over."""
        if len(self.repeats) > 1 and not one.division:
            return "splits, seeds and test adapters"
        adapters = "test adapters" if self.tested[one.division].clusters is None else "groups of test adapters"
        if len(self.draws_of(one)) > 1:
            return f"draws, seeds and {adapters}" if len(one.runs) > 1 else f"draws and {adapters}"
        return f"seeds and {adapters}" if len(one.runs) > 1 else adapters
