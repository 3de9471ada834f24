"""Figures of an experiment: accuracy per representation and group, and the drop from all layers to each group."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_perf import store
from lora_perf.experiment.results import Results
from lora_perf.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which most colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def draw(results: Results, folder: Path) -> None:
    """Writes accuracy.svg and, for several groups, drop.svg, each also as PNG."""
    first, *others = results.groups
    names = _by_accuracy(results)
    accuracies = {group: {name: results.accuracy(name, group) for name in names} for group in results.groups}
    figure, axes = _canvas(names)
    _intervals(axes, names, accuracies)
    axes.axvline(results.chance, color="grey", linestyle=":", label="commonest class")
    warning = " (tested on train rows)" if results.dataset["resubstitution"] else ""
    axes.set_xlabel(f"test accuracy, mean and 95 % interval{warning}")
    axes.set_title(f"{results.dataset['name']}: {results.dataset['adapters']:,} adapters, {results.config['num_runs']} runs")
    _finish(figure, axes, folder / "accuracy")
    if others:
        drops = {group: {name: results.drop(name, group) for name in names} for group in others}
        figure, axes = _canvas(names)
        _intervals(axes, names, drops)
        axes.axvline(0, color="grey", linestyle=":", label="no drop")
        axes.set_xlabel(f"accuracy on {first} less accuracy on the group, mean and 95 % interval")
        axes.set_title(f"{results.dataset['name']}: drop from {first}")
        _finish(figure, axes, folder / "drop")


def _by_accuracy(results: Results) -> list[str]:
    """Representations from the worst to the best on the first group, so that the best stands on top."""

    def mean(name: str) -> float:
        estimate = results.accuracy(name, results.groups[0])
        return estimate.mean if estimate else 0.0

    return sorted(results.representations, key=mean)


def _canvas(names: list[str]) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.4 + 0.42 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _intervals(axes: Axes, names: list[str], groups: Mapping[str, Mapping[str, Estimate | None]]) -> None:
    for turn, (group, estimates) in enumerate(groups.items()):
        offset = 0.5 * ((turn + 0.5) / len(groups) - 0.5)
        shown = [(place - offset, estimates[name]) for place, name in enumerate(names)]
        points = [(place, one) for place, one in shown if one is not None]
        axes.errorbar(
            [one.mean for _, one in points],
            [place for place, _ in points],
            xerr=[[one.mean - one.low for _, one in points], [one.high - one.mean for _, one in points]],
            fmt=_MARKERS[turn % len(_MARKERS)],
            color=_COLOURS[turn % len(_COLOURS)],
            capsize=2.5,
            markersize=5,
            linewidth=1.2,
            label=group,
        )
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    from matplotlib import rc_context

    axes.legend(loc="best", frameon=False)
    for kind in ("svg", "png"):
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "lora_perf"}):  # with fixed ids and no date the same numbers give the same file
            figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        with store.replacing(path.with_suffix(f".{kind}")) as file:
            file.write(buffer.getvalue())
