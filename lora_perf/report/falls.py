"""What drops with the layers: from the strongest group to each other one, what share is kept, and in which classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers.metrics import Estimate, PairedDifference
from lora_perf.core.charts import Shade, colour, drawing, key, shades, short, side_by_side
from lora_perf.core.pages import text
from lora_perf.report.comparisons import LEVEL, holm
from lora_perf.report.wording import format_p, with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results

_SHOWN = 12  # waterfalls of a page; each shows one representation
_CLASSES = 30  # rows of the drawing of classes
_HIGH, _HEAD, _WIDE, _LEFT = 130, 40, 84, 36


@dataclass(frozen=True)
class Step:
    """A layer group beside the strongest: its score, what it is below, and p after Holm's correction over all pairs of groups,
    since any of them could have been the strongest.
    """

    group: str
    score: Estimate
    fall: PairedDifference
    holm: float


@dataclass(frozen=True)
class Fall:
    """What one representation, read by one classifier, loses from its strongest layer group to each other one.

    Attributes:
        steps: the strongest of them first.
    """

    representation: str
    classifier: str
    strongest: str
    score: Estimate
    steps: Sequence[Step]


def falls(results: Results) -> list[Fall]:
    """One for each representation and classifier with several groups, the strongest first."""
    strongest: dict[tuple[str, str], Fall] = {}
    pairs: list[tuple[tuple[str, str], str, str, PairedDifference]] = []
    for of in product(results.representations, results.classifiers):
        name, classifier = of
        scores = {group: score for group in results.groups if (score := results.accuracy(name, group, classifier))}
        order = sorted(scores, key=lambda group, by=scores: -by[group].mean)  # type: ignore[misc]
        for first, second in combinations(order, 2):
            if (fall := results.drop(name, second, classifier, reference=first)) is not None:
                strongest.setdefault(of, Fall(name, classifier, order[0], scores[order[0]], ()))
                pairs.append((of, first, second, fall))
    for (of, first, second, fall), p in zip(pairs, holm([one[-1].p for one in pairs]), strict=True):
        one = strongest[of]
        if first == one.strongest and (score := results.accuracy(one.representation, second, one.classifier)) is not None:
            strongest[of] = replace(one, steps=(*one.steps, Step(second, score, fall, p)))
    return sorted((one for one in strongest.values() if one.steps), key=lambda one: -one.score.mean)


def waterfalls(results: Results, classifier: str) -> str:
    """The falls of a classifier side by side, a column a layer group; "" where there are none."""
    chosen = [one for one in falls(results) if one.classifier == classifier][:_SHOWN]
    if not chosen:
        return ""
    top = max(max(one.score.mean, results.chance) for one in chosen)
    low = min(0.0, *(step.score.mean for one in chosen for step in one.steps))
    return f'<div class="small">{"".join(_waterfall(one, results, low, top) for one in chosen)}</div>'


def _waterfall(one: Fall, results: Results, low: float, top: float) -> str:
    """One of them, as high as its score, all at one scale."""
    width = _LEFT + _WIDE * (1 + len(one.steps)) + 8
    unit, own = _HIGH / ((top - low) or 1.0), max(one.score.mean, results.chance)
    foot = _HEAD + unit * (own - low)

    def y(value: float) -> float:
        return _HEAD + unit * (own - value)

    level, right = y(one.score.mean), width - 8
    chance = f'x1="{_LEFT}" x2="{right}" y1="{y(results.chance):.1f}" y2="{y(results.chance):.1f}"'
    parts = [
        f'<text x="0" y="15" font-weight="600">{text(short(one.representation, 30))}</text>',
        f'<line x1="{_LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="var(--line)"/>',
        f'<line {chance} stroke="var(--quiet)" stroke-dasharray="2 4"/>',
        *(
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" opacity=".7">{value:.2f}</text>'
            for value in (low, one.score.mean)
        ),
    ]
    ours = "var(--ours)"
    parts.append(_block(0, (y(0.0), level), ours, 1.0, f"{one.strongest}: {with_interval(one.score)}"))
    parts.append(f'<text x="{_LEFT + _WIDE / 2:.0f}" y="{level - 6:.1f}" text-anchor="middle">{one.score.mean:.3f}</text>')
    for place, step in enumerate(one.steps, start=1):
        d = step.fall
        told = f"{step.group}: {with_interval(step.score)}; {with_sign(d)} less than {one.strongest}, "
        told += f"p {format_p(step.holm)} after Holm"
        fill = "var(--worst)" if step.holm < LEVEL else "var(--other)"
        parts.append(_block(place, (y(0.0), y(step.score.mean)), ours, 0.35, told))
        parts.append(_block(place, (y(step.score.mean), level), fill, 0.9, told))
        middle = _LEFT + _WIDE * (place + 0.5)
        ends = y(one.score.mean - d.low), y(one.score.mean - d.high)
        parts.append(f'<line x1="{middle}" x2="{middle}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="var(--ink)"/>')
        parts.append(f'<text x="{middle}" y="{level - 6:.1f}" text-anchor="middle">{-d.mean:+.3f}</text>')
    label = f"{one.representation} falls, {one.classifier}"
    names = [one.strongest, *(step.group for step in one.steps)]
    parts += [
        f'<text x="{_LEFT + _WIDE * (place + 0.5):.0f}" y="{foot + 18:.1f}" text-anchor="middle">{text(short(name, 12))}</text>'
        for place, name in enumerate(names)
    ]
    return drawing(parts, foot + 24, width, label)


def _block(place: int, ends: tuple[float, float], fill: str, opacity: float, told: str) -> str:
    """A part of a column between two heights."""
    top, bottom = sorted(ends)
    return (
        f"<g><title>{text(told)}</title>"
        f'<rect x="{_LEFT + _WIDE * place + 12}" y="{top:.1f}" width="{_WIDE - 24}" height="{max(0.5, bottom - top):.1f}" '
        f'fill="{fill}" fill-opacity="{opacity}"/></g>'
    )


def kept_shares(results: Results, classifier: str) -> list[tuple[str, dict[str, float | None]]]:
    """For each representation and further group: its score above chance over that of the first group, the strongest first.

    None where the first group itself is not above chance: its interval reaches there.
    """
    first, *others = results.groups
    found = []
    for name in results.representations:
        whole = results.accuracy(name, first, classifier)
        if whole is None or not others:
            continue
        shares: dict[str, float | None] = {}
        for group in others:
            if (part := results.accuracy(name, group, classifier)) is not None:
                above = whole.mean - results.chance
                shares[group] = (part.mean - results.chance) / above if whole.low > results.chance and above > 0 else None
        if shares:
            found.append((whole.mean, name, shares))
    return [(name, shares) for _, name, shares in sorted(found, key=lambda one: -one[0])]


def retention(results: Results) -> str:
    """Maps of what share of the score above chance is kept, one for each classifier; "" where there is a single group."""
    maps = []
    for classifier in results.classifiers:
        found = kept_shares(results, classifier)
        rows = []
        for name, shares in found:
            row = []
            for group in results.groups[1:]:
                share = shares.get(group)
                told = f"{name} on {group}: " + (
                    f"{share:.0%} of the {results.measure} above chance is kept"
                    if share is not None
                    else f"nothing to keep, {results.groups[0]} is not above chance"
                    if group in shares
                    else "not tried"
                )
                row.append(Shade("none" if share is None else f"{share:.0%}", min(1.0, max(0.0, share or 0.0)), told, "ours"))
            rows.append((name, row))
        if rows:
            title = "kept above chance" + f", {classifier}" * (len(results.classifiers) > 1)
            maps.append(shades(rows, results.groups[1:], title))
    return side_by_side(maps)


def class_scores(results: Results, best: CellResult) -> dict[str, NDArray[np.float64]]:
    """For each layer group the share (c,) of each class's test adapters that runs of a representation and classifier name
    rightly; of classes without a test adapter nan. Empty where no group lies beside the first, or no classes are learned.
    """
    if results.task != "classes" or len(results.groups) < 2:
        return {}
    found = {}
    for group in results.groups:
        cell = results.cell(best.representation, group, best.classifier)
        if cell is not None:
            confusion = np.sum([run.confusion for run in cell.runs], axis=0)
            total = confusion.sum(axis=1)
            found[group] = np.where(total > 0, np.diag(confusion) / np.maximum(1, total), np.nan)
    return found if len(found) > 1 and best.group in found else {}


def class_falls(results: Results, best: CellResult) -> str:
    """What each class loses, a row each, the largest loss on top: a point for each layer group; "" where there is nothing."""
    scores = class_scores(results, best)
    if not scores:
        return ""
    first = best.group
    lost = np.fmax.reduce([scores[first] - one for group, one in scores.items() if group != first])
    there = np.flatnonzero(~np.isnan(lost))
    order = there[np.argsort(-lost[there], kind="stable")]
    classes, row, left, width = results.dataset["classes"], 24, 168, 470
    groups = [first, *(group for group in scores if group != first)]
    label = f"share of each class that is named rightly, {best.representation}, {best.classifier}"
    legend, head = key([(group, colour(place)) for place, group in enumerate(groups)], 0, 12, width)
    head += 24

    def x(value: float) -> float:
        return left + (width - left - 70) * value

    parts = [legend]
    shown = order[:_CLASSES].tolist()
    for place, at in enumerate(shown):
        values = {group: float(scores[group][at]) for group in groups}
        y = head + row * place
        told = f"{classes[at]}: " + ", ".join(f"{group} {value:.3f}" for group, value in values.items())
        ends = x(min(values.values())), x(max(values.values()))
        dots = "".join(
            f'<circle cx="{x(values[group]):.1f}" cy="{y}" r="5" fill="{colour(number)}"/>'
            for number, group in reversed([*enumerate(groups)])
        )
        parts.append(
            f"<g><title>{text(told)}</title>"
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{text(short(classes[at], 22))}</text>'
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}" stroke="var(--quiet)" stroke-width="2"/>{dots}'
            f'<text x="{width - 52}" y="{y + 4}">{-lost[at]:+.3f}</text></g>'
        )
    foot = head + row * len(shown) + 6
    parts += [
        f'<text x="{x(value):.1f}" y="{foot}" text-anchor="middle" opacity=".7">{value:.1f}</text>' for value in (0.0, 0.5, 1.0)
    ]
    more = f"<p><small>and {len(order) - len(shown):,} more classes, which lose less</small></p>" * (len(order) > len(shown))
    return drawing(parts, foot + 6, width, label) + more
