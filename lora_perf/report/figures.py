"""Figures of an experiment: accuracy per representation and group, and the drop from all layers to each group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.text import counted
from lora_perf.report.canvas import canvas, figure_text, heights, intervals, name_rows, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lora_perf.report.results import Results

_PANEL_WIDTH = 3.4  # inches, of one classifier among several


def figures(results: Results) -> dict[str, Callable[[], Figure]]:
    """The figures of these results, by the name of their files: each is drawn when it is called, within `canvas.drawing`."""
    return {name: partial(draw, results) for name, draw in DRAWN.items() if name in _ALWAYS or len(results.groups) > 1}


def _accuracies(results: Results) -> Figure:
    """Accuracy of every representation and group; one panel for each classifier."""
    first, panels, names = results.groups[0], results.classifiers, _by_accuracy(results)
    warning = " (tested on train rows)" if results.dataset["resubstitution"] else ""
    figure, grid = _canvas(names, panels)
    title = f"{figure_text(results.dataset['name'])}: {counted(results.dataset['adapters'], 'adapter')}"
    if seeded := results.seeded:
        title += f", {counted(results.config['num_runs'], 'run')}" + f" of {', '.join(seeded)}" * (len(panels) > 1)
    for axes, classifier in zip(grid, panels, strict=True):
        _intervals(
            axes, names, {one: {name: results.accuracy(name, one, classifier) for name in names} for one in results.groups}
        )
        if results.shuffled:
            control = {name: results.accuracy(name, first, classifier, shuffled=True) for name in names}
            points = [(place, one.mean) for place, name in enumerate(names) if (one := control[name])]
            label = f"{figure_text(first)}, shuffled"
            axes.plot([x for _, x in points], [y for y, _ in points], "x", color="grey", markersize=5, label=label)
        nothing = "commonest class" if results.task == "classes" else "knowing nothing"
        axes.axvline(results.chance, color="grey", linestyle=":", label=nothing)
    _finish(figure, grid, panels, title, f"test {results.measure}, mean and 95 % interval{warning}")
    return figure


def _drops(results: Results) -> Figure:
    """Drops from the first group to each other one; one panel for each classifier."""
    first, *others = results.groups
    panels, names = results.classifiers, _by_accuracy(results)
    figure, grid = _canvas(names, panels)
    for axes, classifier in zip(grid, panels, strict=True):
        _halves(axes, names, results, classifier)
        _intervals(axes, names, {one: {name: results.drop(name, one, classifier) for name in names} for one in others})
        axes.axvline(0, color="grey", linestyle=":", label="no drop")
    reference = figure_text(first)
    label = f"{results.measure} on {reference} less that on the group, mean and 95 % interval"
    _finish(figure, grid, panels, f"{figure_text(results.dataset['name'])}: drop from {reference}", label)
    return figure


def _by_accuracy(results: Results) -> list[str]:
    """Representations by their best classifier on the first group, so that the best stands on top."""

    def best(name: str) -> float:
        estimates = [results.accuracy(name, results.groups[0], classifier) for classifier in results.classifiers]
        return max((one.mean for one in estimates if one), default=0.0)

    return sorted(results.representations, key=best)


def _canvas(names: list[str], panels: list[str]) -> tuple[Figure, list[Axes]]:
    width = 7.5 if len(panels) == 1 else 1.5 + _PANEL_WIDTH * len(panels)
    return canvas(width, 1.4 + 0.42 * len(names), len(panels), sharex=True)


def _intervals(axes: Axes, names: list[str], groups: Mapping[str, Mapping[str, Estimate | None]]) -> None:
    for turn, (group, estimates) in enumerate(groups.items()):
        places = zip(heights(len(names), turn, len(groups)), names, strict=True)
        points = [(height, one) for height, name in places if (one := estimates[name])]
        intervals(axes, points, turn, figure_text(group, 32))
    name_rows(axes, names)
    tidy(axes)


def _halves(axes: Axes, names: list[str], results: Results, classifier: str) -> None:
    """Bars from the smallest to the largest drop to the random halves."""
    found = [(place, results.drop_to_halves(name, classifier)) for place, name in enumerate(names)]
    shown = [(place, one) for place, one in found if one is not None]
    if not shown:
        return
    axes.barh(
        [place for place, _ in shown],
        [one.high - one.low for _, one in shown],
        left=[one.low for _, one in shown],
        height=0.6,
        color="lightgrey",
        label=f"{len(results.halves)} random halves, smallest to largest",
    )
    axes.plot([one.mean for _, one in shown], [place for place, _ in shown], "|", color="grey", markersize=10)


def _finish(figure: Figure, grid: list[Axes], panels: list[str], title: str, label: str) -> None:
    if len(panels) == 1:
        (axes,) = grid
        axes.set_xlabel(label)
        axes.set_title(title)
        axes.legend(loc="best", frameon=False)
    else:
        for axes, panel in zip(grid, panels, strict=True):
            axes.set_title(figure_text(panel))
        figure.suptitle(title)
        figure.supxlabel(label, fontsize="medium")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)


# Every figure by the name of its files, and those that are drawn for a single group too.
DRAWN: dict[str, Callable[[Results], Figure]] = {"accuracy": _accuracies, "drop": _drops}
_ALWAYS = ("accuracy",)
