"""All files of a report, in the order in which they matter."""

from __future__ import annotations

from pathlib import Path

from lora_perf.report.canvas import remove_figures, write_figure
from lora_perf.report.figures import figures
from lora_perf.report.results import Results, write_results
from lora_perf.report.summary import write_summary

_FIGURES = ("accuracy", "drop")  # every name that `figures` may give
_KINDS = ("svg", "png")


def write(results: Results, folder: Path) -> list[str]:
    """Writes numbers, predictions and summary, then the figures; returns the names of what was written.

    The summary is written once more when figures are there to be shown in it, so that it never names one that is not.

    Raises:
        LoraPerfError: the numbers or the summary cannot be written; a figure that cannot is a warning.
    """
    write_results(results, folder)
    write_summary(results, folder)
    drawn = draw(results, folder)
    if drawn:
        write_summary(results, folder, [name for name in _FIGURES if f"{name}.svg" in drawn])
    return ["summary.md", "results.json", "results.csv", "predictions.csv", *drawn]


def draw(results: Results, folder: Path) -> list[str]:
    """Writes accuracy.svg and, for several groups, drop.svg, each also as PNG; returns the names of those that could be drawn.

    Figures of an earlier run are removed first.
    """
    remove_figures([folder / f"{name}.{kind}" for name in _FIGURES for kind in _KINDS])
    return [file for name, figure in figures(results).items() for file in write_figure(figure, folder / name, _KINDS)]
