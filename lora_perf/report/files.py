"""All files of a report, in the order in which they matter."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lora_perf.core.text import csv_cell
from lora_perf.io import store
from lora_perf.report.canvas import remove_figures, write_figure
from lora_perf.report.figures import DRAWN, figures
from lora_perf.report.frames import run_rows
from lora_perf.report.page import write_page
from lora_perf.report.predictions import write_predictions
from lora_perf.report.summary import write_summary

if TYPE_CHECKING:
    from lora_perf.report.results import Results

_KINDS = ("svg", "png")
_FIGURES = tuple(f"{name}.{kind}" for name in DRAWN for kind in _KINDS)
# What a report is made of; results.json, which says whose it is, comes last.
REPORT = ("summary.md", "report.html", "results.csv", "predictions.csv", *_FIGURES, "results.json")


def write(results: Results, folder: Path) -> list[str]:
    """Writes numbers, predictions, summary and page, then the figures; returns the names of what was written.

    The summary is written once more when figures are there to be shown in it, so that it never names one that is not.

    Raises:
        LoraPerfError: the numbers or the summary cannot be written; a figure that cannot is a warning.
    """
    write_results(results, folder)
    write_summary(results, folder)
    write_page(results, folder)
    drawn = draw(results, folder)
    if drawn:
        write_summary(results, folder, [name for name in DRAWN if f"{name}.svg" in drawn])
    return ["summary.md", "report.html", "results.json", "results.csv", "predictions.csv", *drawn]


def write_results(results: Results, folder: Path) -> None:
    """Writes results.json, which holds names as they are, results.csv and predictions.csv, each whole or not at all."""
    with store.replacing(folder / "results.json") as file:
        file.write(json.dumps(results.to_json(), indent=1).encode())
    text = io.StringIO(newline="")
    rows = [*run_rows(results)]
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows(map(csv_cell, row.values()) for row in rows)
    with store.replacing(folder / "results.csv") as file:
        file.write(text.getvalue().encode())
    write_predictions(results.predictions, folder)


def draw(results: Results, folder: Path) -> list[str]:
    """Writes accuracy.svg and, for several groups, drop.svg, each also as PNG; returns the names of those that could be drawn.

    Figures of an earlier run are removed first.
    """
    remove_figures([folder / name for name in _FIGURES])
    return [file for name, figure in figures(results).items() for file in write_figure(figure, folder / name, _KINDS)]
