"""Mean ranks on an axis, with bars that join those within the critical difference (Demsar 2006, figure 1)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

from lora_perf.core.charts import drawing, short
from lora_perf.core.pages import text

_LEFT, _RIGHT, _WIDTH = 140, 330, 470
_ROW, _LETTERS = 20, 17


def joined(means: Mapping[str, float], critical: float) -> list[tuple[str, ...]]:
    """The largest sets of at least two whose mean ranks are all less than the critical difference apart, the best first.

    >>> joined({"a": 1.0, "b": 1.5, "c": 1.9, "d": 4.0}, 0.6)
    [('a', 'b'), ('b', 'c')]
    """
    order = sorted(means, key=lambda name: means[name])
    found: list[tuple[str, ...]] = []
    for place, first in enumerate(order):
        some = tuple(name for name in order[place:] if means[name] - means[first] < critical)
        if len(some) > 1 and not (found and set(some) <= set(found[-1])):
            found.append(some)
    return found


def rank_axis(means: Mapping[str, float], critical: float) -> str:
    """Demsar's figure: the best half of the names on the left, the others on the right, the bars between."""
    order = sorted(means, key=lambda name: means[name])
    low, high = floor(min(means.values())), ceil(max(means.values()))
    high = max(high, low + 1)
    bars = joined(means, critical)

    def x(rank: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (rank - low) / (high - low)

    axis = 62
    end = min(x(low + critical), _WIDTH - 10.0)
    parts = [
        f'<text x="{_LEFT}" y="16">critical difference {critical:.2f}</text>',
        f'<path d="M{_LEFT} 22v8M{_LEFT} 26H{end:.1f}M{end:.1f} 22v8" stroke="var(--ink)" fill="none"/>',
        f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{axis}" y2="{axis}" stroke="var(--ink)"/>',
    ]
    step = max(1, (high - low) // 6)
    for rank in range(low, high + 1, step):
        parts.append(f'<path d="M{x(rank):.1f} {axis}v-6" stroke="var(--ink)"/>')
        parts.append(f'<text x="{x(rank):.1f}" y="{axis - 10}" text-anchor="middle" opacity=".7">{rank}</text>')
    top = axis + 12
    for place, some in enumerate(bars):
        y = top + 8 * place
        told = f"not told apart: {', '.join(some)}"
        ends = f'x1="{x(means[some[0]]) - 3:.1f}" x2="{x(means[some[-1]]) + 3:.1f}" y1="{y}" y2="{y}"'
        parts.append(f'<g><title>{text(told)}</title><line {ends} stroke="var(--ours)" stroke-width="4"/></g>')
    below = top + 8 * len(bars) + 16
    half = (len(order) + 1) // 2
    for place, name in enumerate(order):
        left = place < half
        # From the outside in, so that no line crosses another: the outermost rank has the lowest name.
        y = below + _ROW * (place if left else len(order) - 1 - place)
        side, anchor = (_LEFT - 12, "end") if left else (_RIGHT + 12, "start")
        told = f"{name}: mean rank {means[name]:.2f}"
        line = f"M{x(means[name]):.1f} {axis}V{y}H{side}"
        at = f'x="{side + (-4 if left else 4)}" y="{y + 4}" text-anchor="{anchor}"'
        parts.append(
            f'<g><title>{text(told)}</title><path d="{line}" stroke="var(--quiet)" fill="none"/>'
            f'<circle cx="{x(means[name]):.1f}" cy="{axis}" r="3" fill="var(--ours)"/>'
            f"<text {at}>{text(short(name, _LETTERS))}</text></g>"
        )
    return drawing(parts, below + _ROW * half, _WIDTH, "mean ranks")
