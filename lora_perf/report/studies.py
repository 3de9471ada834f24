"""What stands beside the table of groups, where it was asked for: single modules, fewer adapters, another zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_perf.core.tables import Table
from lora_perf.report import parts, sizes, transfer
from lora_perf.report.drawings import Line

if TYPE_CHECKING:
    from lora_perf.report.results import Results


@dataclass(frozen=True)
class Study:
    """A question beside those of the table of groups.

    Attributes:
        title: of its part of a report.
        notes: what was found, a sentence or two each.
        tables: the numbers.
        lines: to be drawn, and what their axis across is of.
    """

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    lines: Sequence[Line] = ()
    across: str = ""


def studies(results: Results) -> list[Study]:
    """Those that were asked for."""
    return [*_transfer(results), *_sizes(results), *_layers(results)]


def _transfer(results: Results) -> list[Study]:
    found = transfer.transferred(results) if results.divisions("transfer") else []
    if not found:
        return []
    title = f"Learned here, tested on {results.dataset['transfer']['name']}"
    return [Study(title, [transfer.transfer_note(results, found)], [transfer.transfer_table(results, found)])]


def _sizes(results: Results) -> list[Study]:
    curves = sizes.size_curves(results)
    if not curves:
        return []
    tables = [sizes.size_table(curves, one) for one in results.classifiers if any(one == each.classifier for each in curves)]
    best = [one for one in curves if one.classifier == max(curves, key=lambda each: each.points[-1][1].mean).classifier]
    lines = [Line(one.representation, one.points) for one in sorted(best, key=lambda one: -one.points[-1][1].mean)]
    title = "How many adapters it takes"
    return [Study(title, [sizes.size_note(results, curves)], tables, lines, f"train adapters ({best[0].classifier})")]


def _layers(results: Results) -> list[Study]:
    found = parts.layers_of(results) if results.parts else []
    if not found:
        return []
    best = max(found, key=lambda one: one.whole.mean)
    order = sorted(found, key=lambda one: -one.whole.mean)
    tables = [table for one in order for table in (parts.kept_table(one), parts.module_table(one))]
    end = (len(best.modules), best.whole)
    lines = [
        Line("the best", [*((one.count, one.best) for one in best.kept), end]),
        Line("drawn at random", [*((one.count, one.drawn) for one in best.kept), end]),
        Line("all but the best", [*((len(best.modules) - one.count, one.without) for one in reversed(best.kept)), end]),
    ]
    across = f"modules ({best.representation}, read by {best.classifier})"
    return [Study("Which layers", [parts.layers_note(results, one) for one in order], tables, lines, across)]
