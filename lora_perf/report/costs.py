"""Scores against what they cost: the number of features, the time to make them, the time to learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.charts import COLOURS, drawing, side_by_side, ticks
from lora_perf.core.pages import text
from lora_perf.report.wording import with_interval

if TYPE_CHECKING:
    from lora_perf.report.results import Results


@dataclass(frozen=True)
class Priced:
    """A cell: what it costs, what it scores, what it is called, whether it is of the first layer group."""

    cost: float
    score: Estimate
    name: str
    first: bool


def priced(results: Results, by: str) -> list[Priced]:
    """The cells by what they cost, the cheapest first; those whose cost is not known or not above 0 are left out.

    Args:
        by: features, milliseconds of an adapter to represent, or seconds of training.
    """
    found = []
    for cell in results.first:
        cost = getattr(cell, by)
        if cell.shuffled or cell.group not in results.groups or cost is None or cost <= 0:
            continue
        score = results.accuracy(cell.representation, cell.group, cell.classifier)
        if score is not None:
            found.append(Priced(float(cost), score, str(cell.cell), cell.group == results.groups[0]))
    return sorted(found, key=lambda one: (one.cost, -one.score.mean))


def frontier(cells: Sequence[Priced]) -> list[Priced]:
    """Those that score more than each that costs as much or less."""
    best: list[Priced] = []
    for one in cells:
        if not best or one.score.mean > best[-1].score.mean:
            best.append(one)
    return best


def costs(results: Results) -> str:
    """Drawings of scores by features, by time to represent and by time to learn, where two cells differ in it; else ""."""
    asked = (
        ("features", "features"),
        ("milliseconds", "ms to represent an adapter"),
        ("seconds", "seconds to train and choose"),
    )
    found = [(priced(results, by), across) for by, across in asked]
    return side_by_side([_scatter(cells, across, results) for cells, across in found if len({one.cost for one in cells}) > 1])


def _scatter(cells: Sequence[Priced], across: str, results: Results) -> str:
    width, left, right, top, bottom = 470, 46, 456, 34, 254
    low = min([results.chance, *(one.score.low for one in cells)])
    high = max(one.score.high for one in cells)
    first, last = np.log(cells[0].cost), np.log(cells[-1].cost)

    def x(cost: float) -> float:
        return left + 8 + (right - left - 16) * float((np.log(cost) - first) / (last - first))

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)

    label = f"{results.measure} by {across}"
    parts = [
        f'<text x="0" y="15" font-weight="600">{text(label)}</text>',
        f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="var(--line)"/>',
        f'<line x1="{left}" x2="{right}" y1="{y(results.chance):.1f}" y2="{y(results.chance):.1f}" stroke="var(--quiet)" '
        'stroke-dasharray="2 4"/>',
        *(
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" opacity=".7">{value:.5g}</text>'
            for value in ticks(low, high)
        ),
    ]
    parts += [
        f'<text x="{x(value):.1f}" y="{bottom + 17}" text-anchor="middle" opacity=".7">{value:,.5g}</text>'
        for value in _ratios(cells[0].cost, cells[-1].cost)
    ]
    parts.append(f'<text x="{(left + right) / 2:.0f}" y="{bottom + 36}" text-anchor="middle">{text(across)}</text>')
    best = frontier(cells)
    steps = "".join(f"H{x(one.cost):.1f}V{y(one.score.mean):.1f}" for one in best[1:])
    parts.append(
        f'<path d="M{x(best[0].cost):.1f} {y(best[0].score.mean):.1f}{steps}H{right}" fill="none" stroke="var(--quiet)"/>'
    )
    for one in sorted(cells, key=lambda each: each.first):
        fill = COLOURS["ours" if one.first else "other"]
        told = f"{one.name}: {with_interval(one.score)}, {one.cost:,.4g} {across}"
        at = f"{x(one.cost):.1f}"
        parts.append(
            f"<g><title>{text(told)}</title>"
            f'<line x1="{at}" x2="{at}" y1="{y(one.score.low):.1f}" y2="{y(one.score.high):.1f}" stroke="{fill}" '
            f'stroke-opacity=".5"/><circle cx="{at}" cy="{y(one.score.mean):.1f}" r="4.5" fill="{fill}"/></g>'
        )
    return drawing(parts, bottom + 42, width, label)


def _ratios(low: float, high: float) -> list[float]:
    """Powers of ten between two costs, at most some six; where there are fewer than three, 2 and 5 times these too."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    powers = [10.0**k for k in range(first, last + 1) if low <= 10.0**k <= high]
    if len(powers) > 2:
        return powers[:: max(1, len(powers) // 5)]
    finer = [float(f"{one * 10.0**k:.3g}") for k in range(first, last + 1) for one in (1, 2, 5)]
    return [one for one in finer if low <= one <= high] or ticks(low, high, 3)
