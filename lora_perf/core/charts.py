"""Drawings for pages as SVG: bars, histograms and maps of shades; the numbers and names appear where the pointer rests.

Every drawing is a text of HTML that needs no network; on a narrow screen it scrolls instead of becoming illegible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.errors import listed
from lora_perf.core.pages import text
from lora_perf.core.text import counted

COLOURS = {"ours": "var(--ours)", "other": "var(--other)", "worst": "var(--worst)"}
_WIDTH, _ROW, _HEAD, _LEFT, _RIGHT = 470, 24, 24, 168, 56
_LETTERS = 22  # of a name beside a row
_NAMED = 5  # adapters that a bar of a histogram names
_READABLE = 0.75  # of its own size, the least that a drawing is shown in
_WIDE = 30.0  # times the smallest value, from which a histogram counts by ratios
_BINS = (8, 32)
# Of classes, groups and lines: apart in hue and in lightness, none too pale for white or too deep for black.
_SEVERAL = ("#3b82d6", "#e08214", "#2f9e44", "#c92a4b", "#8a63d2", "#8d6e4f", "#e377b4", "#7b8794", "#b5a11b", "#17a2b8")
_SHADES = (0.12, 0.75)  # of opacity: seen at all, and letters on it still read


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of `bars`: its name, its value, that value as a text, what is told on hover; kind: ours, other or worst."""

    name: str
    value: float
    shown: str
    told: str = ""
    kind: str = "ours"


@dataclass(frozen=True, slots=True)
class Shade:
    """A cell of `shades`: what stands in it, how dark it is from 0 to 1, what is told on hover; kind as that of `Bar`."""

    shown: str
    depth: float
    told: str
    kind: str = "worst"
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Bins:
    """Values by the interval that they lie in.

    Attributes:
        edges: (bins + 1,) ascending.
        members: for each interval the places of the values from its lower edge to below its upper one; the last has both.
        logarithmic: whether the edges grow by a ratio.
    """

    edges: NDArray[np.float64]
    members: tuple[tuple[int, ...], ...]
    logarithmic: bool


def bins(values: Sequence[float]) -> Bins:
    """Values in about 2 n^(1/3) intervals (Rice's rule), of one ratio where the largest is 30 times the smallest.

    Shapes: values (n,), finite, at least one.

    >>> [len(some) for some in bins([1.0, 1.0, 2.0]).members]
    [2, 0, 0, 0, 0, 0, 0, 1]
    """
    found = np.asarray(values, np.float64)
    low, high = float(found.min()), float(found.max())
    logarithmic = low > 0 and high > _WIDE * low
    count = int(np.clip(np.ceil(2 * len(found) ** (1 / 3)), *_BINS))
    edges = np.geomspace(low, high, count + 1) if logarithmic else np.linspace(low, high, count + 1)
    if not np.all(np.diff(edges) > 0):  # all are one value, or so near that no number lies between
        return Bins(np.array([low, high]), (tuple(range(len(found))),), False)
    edges[0], edges[-1] = low, high
    places = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, count - 1)
    return Bins(edges, tuple(tuple(np.flatnonzero(places == one).tolist()) for one in range(count)), logarithmic)


def histogram(values: Mapping[str, float], label: str, things: str = "adapter") -> str:
    """How often values occur, by name; each bar tells its interval, its count and some names.

    Args:
        label: what the values are, below the axis.
    """
    names, numbers = list(values), list(values.values())
    found = bins(numbers)
    width, high, foot = 420, 150, 38
    most = max(map(len, found.members))
    step = (width - 20) / len(found.members)
    parts, tallest = [], ""
    for place, members in enumerate(found.members):
        if not members:
            continue
        low, top = found.edges[place], found.edges[place + 1]
        between = f"{low:.4g}" if low == top else f"{low:.4g} to {top:.4g}"
        told = f"{between}: {counted(len(members), things)} ({listed((names[at] for at in members), _NAMED)})"
        height = (high - 16) * len(members) / most
        x, y = 10 + step * place, high - height
        parts.append(
            f"<g><title>{text(told)}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.0, step - 1):.1f}" height="{height:.1f}" fill="var(--ours)"/></g>'
        )
        if len(members) == most and not tallest:
            tallest = f'<text x="{x + step / 2:.1f}" y="{y - 4:.1f}" text-anchor="middle" opacity=".7">{most:,}</text>'
    parts.append(f'{tallest}<line x1="10" x2="{width - 10}" y1="{high}" y2="{high}" stroke="var(--line)"/>')
    middle = len(found.edges) // 2
    ends = [(10.0, found.edges[0], "start"), (width - 10, found.edges[-1], "end")]
    ends += [(10 + step * middle, found.edges[middle], "middle")] * (len(found.edges) > 2)
    parts += [
        f'<text x="{x:.1f}" y="{high + 15}" text-anchor="{anchor}" opacity=".7">{value:.3g}</text>' for x, value, anchor in ends
    ]
    scale = ", by ratios" * found.logarithmic
    parts.append(f'<text x="{width / 2:.0f}" y="{high + 32}" text-anchor="middle">{text(label)}{scale}</text>')
    return drawing(parts, high + foot, width, label)


def bars(rows: Sequence[Bar], label: str, most: float | None = None) -> str:
    """A bar a row from 0 to its value, the number at its end.

    Args:
        most: the value of a whole bar; that of the longest by default.
    """
    most = most or max((one.value for one in rows), default=0.0) or 1.0
    parts = [_title(label)]
    for place, one in enumerate(rows):
        y, long = _HEAD + _ROW * place, (_WIDTH - _LEFT - _RIGHT) * one.value / most
        parts.append(
            f"<g><title>{text(one.told or f'{one.name}: {one.shown}')}</title>"
            f'<text x="{_LEFT - 10}" y="{y + 17}" text-anchor="end">{text(short(one.name, _LETTERS))}</text>'
            f'<rect x="{_LEFT}" y="{y + 4}" width="{max(1.5, long):.1f}" height="16" rx="2" fill="{COLOURS[one.kind]}"/>'
            f'<text x="{_LEFT + max(1.5, long) + 8:.1f}" y="{y + 17}">{text(one.shown)}</text></g>'
        )
    return drawing(parts, _HEAD + _ROW * len(rows) + 4, _WIDTH, label)


def shades(rows: Sequence[tuple[str, Sequence[Shade]]], columns: Sequence[str], label: str) -> str:
    """A map of shades: a row a name, a cell for each column, all of one size."""
    wide, head = (_WIDTH - _LEFT) / max(1, len(columns)), 2 * _HEAD
    parts = [_title(label)]
    for place, name in enumerate(columns):
        middle = f'x="{_LEFT + wide * (place + 0.5) - 1:.1f}" y="{head - 7}" text-anchor="middle"'
        parts.append(f'<text {middle} opacity=".7">{text(short(name, 14))}</text>')
    for row, (name, cells) in enumerate(rows):
        y = head + _ROW * row
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end">{text(short(name, _LETTERS))}</text>')
        for place, one in enumerate(cells):
            x = _LEFT + wide * place
            low, high = _SHADES
            depth = low + (high - low) * min(1.0, one.depth) if one.depth > 0 else 0.0
            bold = ' font-weight="700"' * one.strong
            parts.append(
                f"<g><title>{text(one.told)}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{wide - 2:.1f}" height="{_ROW - 2}" fill="{COLOURS[one.kind]}" '
                f'fill-opacity="{depth:.3f}" stroke="var(--line)"/>'
                f'<text x="{x + wide / 2 - 1:.1f}" y="{y + 16}" text-anchor="middle"{bold}>{text(one.shown)}</text></g>'
            )
    return drawing(parts, head + _ROW * len(rows) + 4, _WIDTH, label)


def _title(label: str) -> str:
    return f'<text x="0" y="15" font-weight="600">{text(label)}</text>'


def drawing(parts: Sequence[str], height: float, width: float, label: str = "", most: str = "") -> str:
    """Parts of an SVG as one: as wide as there is room, up to its own size or `most`, and never illegible.

    >>> "A &lt;b&gt;" in drawing([], 10, 20, "A <b>")
    True
    """
    named = f' aria-label="{text(label)}"' * bool(label)
    style = f"min-width:{_READABLE * width:.0f}px;max-width:{most or f'{1.25 * width:.0f}px'}"
    inner = "".join(parts)
    return f'<div class="wide"><svg viewBox="0 0 {width:g} {height:g}" style="{style}" role="img"{named}>{inner}</svg></div>'


def colour(number: int) -> str:
    """A colour for the so-manieth of several things, read on white and on black; ten are easily told apart."""
    return _SEVERAL[number] if number < len(_SEVERAL) else f"hsl({number * 137 % 360} 55% {40 + 10 * (number % 3)}%)"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within two ends, at most so many: steps are 1, 2 or 5 times a power of ten.

    >>> ticks(0.083, 0.97)
    [0.2, 0.4, 0.6, 0.8]
    >>> ticks(3, 3)
    [3]
    """
    if not high > low:
        return [low]
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = next(one * power for one in (1, 2, 5, 10, 20) if (high - low) / (one * power) <= most - 1)
    return [float(f"{k * step:.12g}") for k in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def key(names: Sequence[tuple[str, str]], x: float, y: float, width: float) -> tuple[str, float]:
    """What colours stand for, in rows below `y` as many as are needed, and where the last row stands.

    Args:
        names: with their colours.

    >>> key([("all", "red")], 0, 12, 400)
    ('<circle cx="5.0" cy="12.0" r="5" fill="red"/><text x="16.0" y="16.0">all</text>', 12)
    """
    parts, left = [], x
    for name, fill in names:
        shown = short(name, _LETTERS)
        wide = 34 + 7.2 * len(shown)
        if left > x and left + wide > x + width:
            left, y = x, y + 20
        parts.append(f'<circle cx="{left + 5:.1f}" cy="{y:.1f}" r="5" fill="{fill}"/>')
        parts.append(f'<text x="{left + 16:.1f}" y="{y + 4:.1f}">{text(shown)}</text>')
        left += wide
    return "".join(parts), y


def side_by_side(drawings: Sequence[str]) -> str:
    """Drawings beside each other where there is room, else one below the other."""
    return f'<div class="beside">{"".join(drawings)}</div>' if drawings else ""


def short(name: str, most: int) -> str:
    """A name of at most `most` characters, cut at its end.

    >>> short("abcdef", 4)
    'abc…'
    """
    return name if len(name) <= most else name[: most - 1] + "…"
