"""How the classifiers that are trained by epochs learn: losses on train and validation rows, and the gap between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.core.charts import drawing, key, short, side_by_side
from lora_perf.core.pages import text
from lora_perf.core.text import counted

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult, RunResult
    from lora_perf.report.results import Results

_MOST = 24  # small drawings of a page
_POINTS = 60  # of a line: an epoch more is not seen
_TRAIN, _VALIDATION = "var(--other)", "var(--ours)"
_LOSSES = (("train_loss", _TRAIN), ("validation_loss", _VALIDATION))
Curve = Sequence[float]


def learned_by_epochs(results: Results, best: CellResult) -> list[CellResult]:
    """The cells with curves, the strongest first; the best of all before them where it has some."""
    cells = [
        one
        for one in results.first
        if not one.shuffled and one.group in results.groups and any(run.curves.get("train_loss") for run in one.runs)
    ]
    return sorted(cells, key=lambda one: (one.cell != best.cell, -float(results.gains(one).mean())))


def gap(runs: Sequence[RunResult]) -> tuple[float, float] | None:
    """The mean losses of train and validation rows at the best epoch of each run; None where they are not recorded."""
    found = []
    for run in runs:
        pair = [run.curves.get(name, ())[run.best_epoch - 1 : run.best_epoch] for name, _ in _LOSSES]
        if not all(len(one) == 1 and isfinite(one[0]) for one in pair):
            return None
        found.append((pair[0][0], pair[1][0]))
    train, validation = np.mean(found, axis=0).tolist()
    return train, validation


def learning(results: Results, best: CellResult) -> list[str]:
    """The parts of a page: the strongest cell that is trained by epochs, large, and the others, small; none without curves."""
    cells = learned_by_epochs(results, best)
    if not cells:
        return []
    first, *others = cells
    parts = [f"<h2>How {text(str(first.cell))} learns</h2>"]
    found = gap(first.runs)
    if found is not None:
        train, validation = found
        parts.append(
            f"<p>At the best epochs of {counted(len(first.runs), 'run')} the loss is {train:.3f} on the train rows and "
            f"{validation:.3f} on the validation rows: a gap of {validation - train:+.3f}.</p>"
        )
    parts.append(side_by_side([losses(first), _scores(results, first)]))
    parts.append(
        "<p><small>A thin line a run, thick ones their means as long as all of them train, the gap between these shaded; dots: "
        "the epochs whose weights are kept. Train losses are means while an epoch runs, with dropout, so that a gap below 0 "
        "at the beginning is no wonder.</small></p>"
    )
    if others:
        drawn = "".join(losses(one, small=True) for one in others[:_MOST])
        count = len(others) - _MOST
        more = f"<p><small>and {count:,} more that read less</small></p>" * (count > 0)
        parts.append(f"<details open><summary>The other {counted(len(others), 'cell')}</summary>")
        parts.append(f'<div class="small">{drawn}</div>{more}</details>')
    return parts


def losses(cell: CellResult, *, small: bool = False) -> str:
    """Train and validation losses of the runs of a cell by epoch, and the gap between their means."""
    width, high = (300, 110) if small else (470, 190)
    curves = [(name, fill, lines) for name, fill in _LOSSES if (lines := _lines(cell, name))]
    values = [value for _, _, lines in curves for line in lines for value in line if isfinite(value)]
    if not values:
        return ""
    title = f"{cell.representation}, {cell.group}, {cell.classifier}" if small else "loss"
    left, head = 44, 44
    x, y, frame = _axes(
        left,
        width - 10,
        head,
        head + high,
        max(len(line) for _, _, lines in curves for line in lines),
        min(values),
        max(values),
    )
    parts = [f'<text x="0" y="14" font-weight="600">{text(short(title, width // 8))}</text>', *frame]
    parts.append(key([(name.replace("_loss", ""), fill) for name, fill, _ in curves], left, 29, width)[0])
    means = [_mean(lines) for _, _, lines in curves]
    if len(means) == 2:
        together = min(map(len, means))
        upper = [f"{x(at):.1f},{y(value):.1f}" for at, value in _thinned(means[1][:together])]
        lower = [f"{x(at):.1f},{y(value):.1f}" for at, value in _thinned(means[0][:together])]
        parts.append(f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="var(--worst)" fill-opacity=".12"/>')
    for (name, fill, lines), mean in zip(curves, means, strict=True):
        if not small:
            parts += [_line(cell, number, name, line, fill, x, y) for number, line in enumerate(lines)]
        told = f"{cell.cell}: mean {name.replace('_', ' ')} of {counted(len(lines), 'run')}, {mean[0]:.3f} to {mean[-1]:.3f}"
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in _thinned(mean))
        parts.append(
            f'<g><title>{text(told)}</title><polyline points="{points}" fill="none" stroke="{fill}" stroke-width="2.4"/></g>'
        )
    return drawing(parts, head + high + 22, width, f"losses of {cell.cell}")


def _scores(results: Results, cell: CellResult) -> str:
    """The score on the validation rows by epoch, a line a run, and chance."""
    lines = _lines(cell, "validation_accuracy")
    values = [value for line in lines for value in line if isfinite(value)]
    if not values:
        return ""
    low, high = min(*values, results.chance), max(*values, results.chance)
    x, y, frame = _axes(44, 460, 44, 234, max(map(len, lines)), low, high)
    parts = [f'<text x="0" y="14" font-weight="600">{text(results.measure)} on the validation rows</text>', *frame]
    ends = f'x1="44" x2="460" y1="{y(results.chance):.1f}" y2="{y(results.chance):.1f}"'
    parts.append(f'<g><title>chance</title><line {ends} stroke="var(--quiet)" stroke-dasharray="2 4"/></g>')
    parts += [
        _line(cell, number, "validation_accuracy", line, _VALIDATION, x, y, dot=True) for number, line in enumerate(lines)
    ]
    return drawing(parts, 256, 470, f"validation of {cell.cell}")


def _lines(cell: CellResult, name: str) -> list[Curve]:
    return [curve for run in cell.runs if (curve := run.curves.get(name))]


def _mean(lines: Sequence[Curve]) -> list[float]:
    """The means of lines as far as all of them go."""
    shortest = min(map(len, lines))
    return [float(one) for one in np.mean([line[:shortest] for line in lines], axis=0)]


def _thinned(line: Curve) -> list[tuple[int, float]]:
    """At most some points of a line by their epochs from 0, the last among them; those that are no numbers left out."""
    places = np.unique(np.linspace(0, len(line) - 1, min(len(line), _POINTS)).round().astype(int)).tolist()
    return [(at, line[at]) for at in places if isfinite(line[at])]


def _axes(
    left: float, right: float, top: float, bottom: float, epochs: int, low: float, high: float
) -> tuple[Callable[[float], float], Callable[[float], float], list[str]]:
    """Where an epoch from 0 and a value stand, and the frame with their ends."""

    def x(at: float) -> float:
        return left + (right - left) * at / max(1, epochs - 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)

    parts = [f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="var(--line)"/>']
    parts += [
        f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" opacity=".7">{value:.2f}</text>'
        for value in dict.fromkeys((low, high))
    ]
    parts.append(f'<text x="{left}" y="{bottom + 16}" opacity=".7">epoch 1</text>')
    parts += [f'<text x="{right}" y="{bottom + 16}" text-anchor="end" opacity=".7">{epochs}</text>'] * (epochs > 1)
    return x, y, parts


def _line(
    cell: CellResult,
    number: int,
    name: str,
    line: Curve,
    fill: str,
    x: Callable[[float], float],
    y: Callable[[float], float],
    *,
    dot: bool = False,
) -> str:
    run = cell.runs[number]
    at = run.best_epoch - 1
    points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in _thinned(line))
    best = 0 <= at < len(line) and isfinite(line[at])
    told = f"run {number + 1}" + f" (seed {run.seed})" * (run.seed is not None)
    told += f": {name.replace('_', ' ')} {line[at]:.3f} at its best epoch, {run.best_epoch} of {len(line)}" * best
    circle = f'<circle cx="{x(at):.1f}" cy="{y(line[at]):.1f}" r="3.5" fill="{fill}"/>' * (
        best and (dot or "validation" in name)
    )
    return (
        f'<g><title>{text(told)}</title><polyline points="{points}" fill="none" stroke="{fill}" stroke-opacity=".45" '
        f'stroke-width="1.3"/>{circle}</g>'
    )
