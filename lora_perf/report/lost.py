"""The part of a page on drops: forests, the table, waterfalls, what share is kept, what each class loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.charts import side_by_side
from lora_perf.core.pages import table, text
from lora_perf.core.text import counted
from lora_perf.report.comparisons import MARGIN, Compared
from lora_perf.report.drawings import forest
from lora_perf.report.falls import class_falls, retention, waterfalls
from lora_perf.report.findings import best_cell
from lora_perf.report.wording import format_p

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results


_OPEN = 14  # rows of a table that is shown at once


def _unfolded(inner: str, rows: int) -> str:
    """A table, behind a line that opens it where it is long."""
    return inner if rows <= _OPEN else f"<details><summary>{counted(rows, 'drop')} with p values</summary>{inner}</details>"


def headed(results: Results, classifier: str) -> str:
    """The name of a classifier above what is its own, where there are several."""
    return f"<h3>{text(classifier)}</h3>" * (len(results.classifiers) > 1)


def lost(results: Results, found: Mapping[tuple[str, str, str], Compared]) -> list[str]:
    """The parts; none where there is a single layer group."""
    if not found:
        return []
    several, others = len(results.classifiers) > 1, len(results.groups) > 2
    rows, points = [], {classifier: [] for classifier in results.classifiers}  # type: ignore[var-annotated]
    for (name, group, classifier), one in found.items():
        title = ", ".join([name, group, *[classifier] * several])
        shown = f"{name}, {group}" if others else name
        d = one.difference
        rows.append(
            (title, f"{d.mean:+.3f}", f"{d.low:+.3f} to {d.high:+.3f}", format_p(d.p), format_p(one.holm), f"{one.same:.0%}")
        )
        points[classifier].append((shown, Estimate(d.mean, d.low, d.high, d.se, d.df), "worst" if one.differs else "other"))
    columns = ("cell", "drop", "95 % interval", "p", "p after Holm", f"within {MARGIN:.0%}")
    forests = [
        f"<div>{headed(results, one)}{forest(sorted(rows, key=lambda row: -row[1].mean), 0.0)}</div>"
        for one, rows in points.items()
        if rows
    ]
    to = f" to {text(results.groups[1])}" * (not others)
    best = best_cell(results)
    drawn = waterfalls(results, best.classifier)
    return [
        f"<h2>Drops from {text(results.groups[0])}{to}</h2>",
        side_by_side(forests),
        _unfolded(table(columns, rows, range(1, 6), "sorted"), len(rows)),
        "<p><small>Red: below .05 after Holm's correction over all drops. The last column is the probability that the drop "
        "is smaller than that either way.</small></p>",
        f"<h3>From the strongest layer group to each other one, {text(best.classifier)}</h3>{drawn}" * bool(drawn),
        "<p><small>Each block hangs from the level of the strongest group, with the 95 % interval of the drop; what stands "
        "below it is left. Dotted: chance. Red: below .05 after Holm's correction over all pairs of groups, as any could have "
        "been the strongest.</small></p>" * bool(drawn),
        f"<h3>What is kept of {text(results.groups[0])}</h3>{retention(results)}",
        f"<p><small>{text(results.measure[0].upper() + results.measure[1:])} above chance on the group over that on "
        f"{text(results.groups[0])}; none: {text(results.groups[0])} itself is not above chance.</small></p>",
        *_classes(results, best),
    ]


def _classes(results: Results, best: CellResult) -> list[str]:
    """Per class what is lost."""
    drawn = class_falls(results, best)
    if not drawn:
        return []
    return [
        f"<h3>What each class loses, {text(best.representation)} read by {text(best.classifier)}</h3>{drawn}",
        "<p><small>All runs together; on the right the largest drop. Few test adapters of a class tell little of it: no "
        "interval is drawn, and no class is singled out by a test.</small></p>",
    ]
