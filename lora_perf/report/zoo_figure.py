"""The map of a zoo drawn: a point an adapter, named where the pointer rests; test adapters and misread ones marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_perf.core.charts import colour, drawing, key
from lora_perf.core.pages import text
from lora_perf.core.text import counted
from lora_perf.core.zoo import SPLIT_NAMES

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.maps import ZooMap
    from lora_perf.report.results import Results

_SIZE, _LEGEND = 470, 20  # classes that the legend names
_MANY = 300  # test adapters, of which more are drawn smaller
_TEST = SPLIT_NAMES.index("test")


def mapped(results: Results, best: CellResult) -> CellResult | None:
    """The cell whose map is shown: the best one, else the strongest that has one."""
    found = [one for one in results.first if one.map is not None]
    return max(found, key=lambda one: (one.cell == best.cell, float(results.gains(one).mean())), default=None)


def misread(results: Results, cell: CellResult) -> dict[int, float]:
    """The share of the runs of a cell that are wrong, by the numbers of the test adapters that more than half misread."""
    if results.task != "classes":
        return {}
    wrong = 1 - results.gains(cell).mean(axis=0)
    return {row: share for row, share in zip(results.rows, wrong.tolist(), strict=False) if share > 0.5}


def zoo_map(results: Results, best: CellResult) -> list[str]:
    """The parts of a page; none where no map was made."""
    cell = mapped(results, best)
    if cell is None or cell.map is None:
        return []
    found, wrong = cell.map, misread(results, cell)
    first, second = found.shares
    drawn = f"{len(found.rows):,} of {found.total:,} adapters, drawn at random" if len(found.rows) < found.total else ""
    told = (
        f"{drawn or counted(found.total, 'adapter')} on the first two principal axes of {text(cell.representation)} on "
        f"{text(cell.group)}, standardised. The axes carry {first:.1%} and {second:.1%} of the variance"
    )
    shown = sum(row in wrong for row in found.rows)
    marks = f"; crossed: {counted(shown, 'test adapter')} that most runs of {text(cell.classifier)} misread" * bool(shown)
    return [
        "<h2>The adapters on a map</h2>",
        f"<p>{told}: what lies near each other here may lie far apart along the others.</p>",
        _drawn(results, found, wrong, cell),
        f"<p><small>Large with a rim: test adapters; small: train and validation adapters{marks}.</small></p>",
    ]


def _drawn(results: Results, found: ZooMap, wrong: dict[int, float], cell: CellResult) -> str:
    numbers = results.task == "numbers"
    classes = results.dataset["classes"]
    low, high = min(found.truth), max(found.truth)

    def fill(value: float) -> str:
        return _of_number((value - low) / ((high - low) or 1.0)) if numbers else colour(int(value))

    if numbers:
        names = [(f"{value:.4g}", fill(value)) for value in (low, (low + high) / 2, high)]
    else:
        there = sorted({int(value) for value in found.truth})
        names = [(classes[one], colour(one)) for one in there[:_LEGEND]]
        names += [(f"and {len(there) - _LEGEND} more", "none")] * (len(there) > _LEGEND)
    legend, head = key(names, 0, 10, _SIZE)
    head += 18
    left, right = min(found.x), max(found.x)
    bottom, top = min(found.y), max(found.y)
    scale = (_SIZE - 20) / ((right - left) or 1.0)
    height = min(_SIZE * 1.2, max(120.0, scale * (top - bottom)))

    def x(value: float) -> float:
        return 10 + scale * (value - left)

    def y(value: float) -> float:
        return head + 8 + height * (top - value) / ((top - bottom) or 1.0)

    many = sum(part == _TEST for part in found.parts) > _MANY
    dot, rim, arm, stroke = (3.5, 0.7, 4, 1.2) if many else (5, 1, 7, 2)
    parts = [legend]
    order = sorted(range(len(found.rows)), key=lambda at: (found.parts[at] == _TEST, found.rows[at] in wrong))
    for at in order:
        value, row, test = found.truth[at], found.rows[at], found.parts[at] == _TEST
        truth = f"{value:.4g}" if numbers else classes[int(value)]
        told = f"{found.adapters[at]}: {truth}, {SPLIT_NAMES[found.parts[at]]}"
        told += f", misread by {wrong[row]:.0%} of the runs" if row in wrong else ""
        left_of, above = f"{x(found.x[at]):.0f}", f"{y(found.y[at]):.0f}"
        style = f'r="{dot}" stroke="var(--ink)" stroke-width="{rim}"' if test else f'r="{0.7 * dot:.1f}" fill-opacity=".55"'
        circle = f'<circle cx="{left_of}" cy="{above}" {style} fill="{fill(value)}"/>'
        if row in wrong:
            cross = f"m-{arm}-{arm}l{2 * arm} {2 * arm}m0-{2 * arm}l-{2 * arm} {2 * arm}"
            circle += f'<path d="M{left_of} {above}{cross}" stroke="var(--ink)" stroke-width="{stroke}"/>'
        parts.append(f"<g><title>{text(told)}</title>{circle}</g>")
    return drawing(parts, head + height + 16, _SIZE, f"map of {cell.representation} on {cell.group}", most="40rem")


def _of_number(share: float) -> str:
    """A colour for a number between the least, 0, and the most, 1: blue over green to yellow."""
    return f"hsl({240 - 190 * share:.0f} 70% 50%)"
