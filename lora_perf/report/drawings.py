"""Small drawings as SVG inside of a page: intervals, lines, confusions; a name appears where the pointer rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.charts import COLOURS, colour, drawing, short, ticks
from lora_perf.core.pages import text
from lora_perf.report.wording import with_interval

_ROW, _LEFT, _WIDTH, _RIGHT = 24, 208, 470, 56
_CHARACTERS = 30  # of a name beside a row


def forest(rows: Sequence[tuple[str, Estimate, str]], line: float) -> str:
    """Means with their intervals, a row each, and a dotted line at a value.

    Args:
        rows: name, estimate, and kind: ours, other or worst.
    """
    low = min([line, *(one.low for _, one, _ in rows)])
    high = max([line, *(one.high for _, one, _ in rows)])
    span = (high - low) or 1.0
    low, high = low - 0.03 * span, high + 0.03 * span

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)

    height = _ROW * len(rows) + 30
    ends = f'x1="{x(line):.1f}" x2="{x(line):.1f}" y1="0" y2="{height - 26}"'
    parts = [f'<line {ends} stroke="var(--quiet)" stroke-dasharray="2 4"/>']
    for place, (name, one, kind) in enumerate(rows):
        y, fill = _ROW * place + 14, COLOURS[kind]
        told = f"{name}: {with_interval(one)}"
        parts.append(
            f"<g><title>{text(told)}</title>"
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{text(_short(name))}</text>'
            f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}" stroke="{fill}" stroke-width="2"/>'
            f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="4.5" fill="{fill}"/>'
            f'<text x="{_WIDTH - _RIGHT + 12}" y="{y + 4}">{one.mean:.3f}</text></g>'
        )
    parts += [
        f'<text x="{x(value):.1f}" y="{height - 6}" text-anchor="middle" opacity=".7">{value:.5g}</text>'
        for value in ticks(low, high)
    ]
    return _svg(parts, height)


@dataclass(frozen=True)
class Line:
    """A line of a drawing: its name, and estimates by what they are of, from left to right."""

    name: str
    points: Sequence[tuple[float, Estimate]]


def lines_by(lines: Sequence[Line], across: str) -> str:
    """Estimates by a number, a line each with its 95 % band; the axis across is logarithmic."""
    values = [x for line in lines for x, _ in line.points]
    low = min(one.low for line in lines for _, one in line.points)
    high = max(one.high for line in lines for _, one in line.points)
    first, last = np.log(min(values)), np.log(max(values))
    left, right, top, bottom = 60, 640, 16, 300

    def x(value: float) -> float:
        return left + (right - left) * float((np.log(value) - first) / ((last - first) or 1.0))

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)

    parts = [f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="var(--line)"/>']
    heights = _apart([y(line.points[-1][1].mean) for line in lines], 15)
    for number, (line, height) in enumerate(zip(lines, heights, strict=True)):
        fill = colour(number)
        upper = " ".join(f"{x(at):.1f},{y(one.high):.1f}" for at, one in line.points)
        lower = " ".join(f"{x(at):.1f},{y(one.low):.1f}" for at, one in reversed(line.points))
        means = " ".join(f"{x(at):.1f},{y(one.mean):.1f}" for at, one in line.points)
        parts.append(f'<polygon points="{upper} {lower}" fill="{fill}" fill-opacity=".1"/>')
        parts.append(f'<polyline points="{means}" fill="none" stroke="{fill}" stroke-width="2"/>')
        for at, one in line.points:
            told = f"{line.name}, {at:,.0f}: {with_interval(one)}"
            parts.append(
                f'<g><title>{text(told)}</title><circle cx="{x(at):.1f}" cy="{y(one.mean):.1f}" r="4" fill="{fill}"/></g>'
            )
        parts.append(f'<text x="{right + 10}" y="{height + 4:.1f}" style="fill:{fill}">{text(_short(line.name, 26))}</text>')
    parts += [
        f'<text x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle" opacity=".7">{value:,.0f}</text>'
        for value in sorted(set(values))
    ]
    parts += [
        f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end" opacity=".7">{value:.5g}</text>'
        for value in ticks(low, high)
    ]
    parts.append(f'<text x="{(left + right) / 2:.0f}" y="{bottom + 38}" text-anchor="middle">{text(across)}</text>')
    return _svg(parts, bottom + 46, right + 190, most="60rem")


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights of labels, moved so that none covers another."""
    order = np.argsort(heights, kind="stable")
    placed, below = np.array(heights, float), -np.inf
    for at in order:
        placed[at] = below = max(placed[at], below + least)
    return [float(one) for one in placed]


def heat_map(counts: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Counts (c, c), true by predicted, each row shaded by its shares; of many classes those that are confused most."""
    most = 20
    kept = np.arange(len(counts))
    if len(counts) > most:
        wrong = counts.sum(axis=1) - np.diag(counts)
        kept = np.sort(np.argsort(-wrong, kind="stable")[:most])
    counts = counts[np.ix_(kept, kept)]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    depths = np.where(counts > 0, 0.15 + 0.85 * shares, 0.0)  # what happened at all is seen
    size, left = 30, 130
    parts = []
    for row, of_row in enumerate(counts.tolist()):
        true = classes[int(kept[row])]
        parts.append(f'<text x="{left - 8}" y="{size * row + 20}" text-anchor="end">{text(_short(true, 16))}</text>')
        for place, count in enumerate(of_row):
            told = f"{true} named {classes[int(kept[place])]}: {count:,}"
            place_of = f'x="{left + size * place}" y="{size * row}" width="{size - 2}" height="{size - 2}"'
            colour = f'fill="{"var(--ours)" if place == row else "var(--worst)"}" fill-opacity="{depths[row, place]:.3f}"'
            parts.append(f'<g><title>{text(told)}</title><rect {place_of} {colour} stroke="var(--line)"/></g>')
    foot = size * len(counts) + 8
    for place, at in enumerate(kept.tolist()):
        turned = f"translate({left + size * place + 19},{foot}) rotate(-90)"
        parts.append(f'<text transform="{turned}" text-anchor="end" opacity=".7">{text(_short(classes[at], 12))}</text>')
    width = left + size * len(counts) + 10
    return _svg(parts, foot + 8 * max(len(_short(classes[at], 12)) for at in kept.tolist()), width)


def scatter(across: Sequence[float], up: Sequence[float], told: Sequence[str], label: str) -> str:
    """Pairs of numbers, a point each, told where the pointer rests, and the line where both agree."""
    low, high = float(min(*across, *up)), float(max(*across, *up))
    span, size = (high - low) or 1.0, 470

    def at(value: float) -> float:
        return 52 + (size - 70) * (value - low) / span

    ends = f'x1="{at(low):.1f}" y1="{size - at(low):.1f}" x2="{at(high):.1f}" y2="{size - at(high):.1f}"'
    parts = [f'<line {ends} stroke="var(--quiet)" stroke-dasharray="2 4"/>']
    for x, y, words in zip(across, up, told, strict=True):
        parts.append(
            f'<g><title>{text(words)}</title><circle cx="{at(x):.1f}" cy="{size - at(y):.1f}" r="4" fill="var(--ours)" '
            'fill-opacity=".6"/></g>'
        )
    for value in ticks(low, high):
        parts.append(f'<text x="{at(value):.1f}" y="{size - 26}" text-anchor="middle" opacity=".7">{value:.5g}</text>')
        parts.append(f'<text x="44" y="{size - at(value) + 4:.1f}" text-anchor="end" opacity=".7">{value:.5g}</text>')
    parts.append(f'<text x="{size / 2:.0f}" y="{size - 6}" text-anchor="middle">{text(_short(label, 64))}</text>')
    return drawing(parts, size, size, label)


def _svg(parts: Sequence[str], height: int, width: int = _WIDTH, most: str = "") -> str:
    return drawing(parts, height, width, most=most)


def _short(name: str, most: int = _CHARACTERS) -> str:
    return short(name, most)
