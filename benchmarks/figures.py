"""Figures of a speed report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Spread, digits
from benchmarks.record import Record
from benchmarks.surface import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FAST, _SLOW, _LIMIT = "#0072B2", "#D55E00", "#7f7f7f"  # Okabe and Ito's


def _save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format that the name says; an SVG holds no date, so that the same numbers give the same file."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    kind = path.suffix.removeprefix(".")
    with rc_context({"svg.hashsalt": "lora_perf"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    with replacing(path) as file:
        file.write(buffer.getvalue())


def paths(records: list[Record], title: str, limit_name: str, path: Path) -> None:
    """Seconds of every path of some workloads on a logarithmic axis, with the limit as a line in each row."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, Spread, str, float]] = []
    for one in records:
        limit = one.limit.seconds.median if one.limit else 0.0
        rows.append((f"{one.workload}: lora_perf", one.fast, _FAST, limit))
        slow = sorted(one.baselines.items(), key=lambda item: item[1].seconds.median)
        rows += [(f"{one.workload}: {name}", timing.seconds, _SLOW, limit) for name, timing in slow]
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, spread, colour, limit) in enumerate(reversed(rows)):
        axes.barh(place, spread.median, color=colour, height=0.65)
        axes.plot([spread.low, spread.high], [place, place], color="black", linewidth=1)
        axes.text(max(spread.high, limit) * 1.15, place, f"{digits(spread.median)} s", va="center", fontsize=8)
        if limit:
            axes.plot([limit, limit], [place - 0.42, place + 0.42], color=_LIMIT, linewidth=2)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)], fontsize=8)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 4)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    grey = f"; grey: {limit_name}" if any(one.limit for one in records) else ""
    axes.set_xlabel(f"seconds of the whole workload (median, quartiles){grey}")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def growth(found: dict[str, dict[int, Spread]], path: Path) -> None:
    """Seconds against the number of adapters, both logarithmic, with a line of slope one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for marker, (action, by_size) in zip("osD^", found.items(), strict=False):
        sizes = sorted(by_size)
        medians = [by_size[n].median for n in sizes]
        errors = [[by_size[n].median - by_size[n].low for n in sizes], [by_size[n].high - by_size[n].median for n in sizes]]
        axes.errorbar(sizes, medians, yerr=errors, marker=marker, capsize=3, label=action)
        if action != "open":
            axes.plot(sizes, [medians[0] * n / sizes[0] for n in sizes], color=_LIMIT, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("adapters (99,648 parameters each); dotted: linear from the smallest zoo")
    axes.set_ylabel("seconds (median, quartiles)")
    axes.set_title("Time against adapters, packed file")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    _save(figure, path)


def memory(found: dict[str, tuple[int, int]], path: Path) -> None:
    """Peak memory beside the bytes of the rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 0.5 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    names = list(found)[::-1]
    axes.barh([i + 0.18 for i in range(len(names))], [found[name][0] / 1e6 for name in names], 0.36, color=_FAST, label="peak")
    axes.barh(
        [i - 0.18 for i in range(len(names))],
        [found[name][1] / 1e6 for name in names],
        0.36,
        color=_LIMIT,
        label="bytes of the rows",
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("MB of anonymous memory in a process of its own, over that before the call")
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
