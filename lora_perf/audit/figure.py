"""audit.svg: movements beside the rounding of float32, and drops of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_perf.audit.gauges import GAUGES
from lora_perf.audit.movement import STILL
from lora_perf.report.canvas import COLOURS, MARKERS, canvas, figure_text, heights, intervals, name_rows, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lora_perf.audit.study import Audit, Reading

_LEAST = 1e-9  # where movements of exactly 0 are drawn, well below the rounding of float32


def drawn(found: Audit) -> Figure:
    """Largest movements on the left, drops of accuracy on the right, a panel a classifier; within `canvas.drawing`."""
    names = [one.name for one in found.representations][::-1]
    classifiers = [one.classifier for one in found.representations[0].readings]
    panels = 1 + len(classifiers)
    figure, axes = canvas(1.5 + 4.2 * panels, 1.8 + 0.36 * len(names), panels, sharex=False)
    _movements(axes[0], found, names)
    for place, (one, classifier) in enumerate(zip(axes[1:], classifiers, strict=True)):
        readings = {audited.name: audited.readings[place] for audited in found.representations}
        _drops(one, readings, names)
        one.set_title(f"accuracy lost by {figure_text(classifier)}", fontsize="medium")
    name_rows(axes[0], names)
    figure.suptitle(f"{figure_text(found.dataset['name'])}: the same updates in other factors")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _movements(axes: Axes, found: Audit, names: list[str]) -> None:
    movements = {one.name: one.movements for one in found.representations}
    floor = max(one.largest for one in found.rounding.values())
    for turn, gauge in enumerate(GAUGES):
        largest = [max(_LEAST, movements[name][gauge].relative.largest) for name in names]
        axes.plot(largest, _heights(len(names), turn), MARKERS[turn], color=COLOURS[turn], markersize=5, label=gauge)
    axes.set_xscale("log")
    axes.set_xlim(_LEAST / 2)
    axes.axvline(max(_LEAST, floor), color="grey", linestyle=":", label="dW in float32 factors")
    axes.axvline(STILL, color="grey", linestyle="--", label="still below")
    axes.set_title("largest movement of an adapter's features", fontsize="medium")
    axes.set_xlabel(f"|f' - f| / |f| (exactly 0 is drawn at {_LEAST:g})")
    tidy(axes)


def _drops(axes: Axes, readings: dict[str, Reading], names: list[str]) -> None:
    for turn, gauge in enumerate(GAUGES):
        drops = [readings[name].drop[gauge] for name in names]
        intervals(axes, zip(_heights(len(names), turn), drops, strict=True), turn)
    axes.axvline(0, color="grey", linestyle=":")
    axes.set_xlabel("accuracy as trained less accuracy in the gauge")
    tidy(axes)


def _heights(count: int, turn: int) -> list[float]:
    return heights(count, turn, len(GAUGES), 0.6)
