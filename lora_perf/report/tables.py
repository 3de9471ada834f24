"""The table of results: on a terminal, in a notebook, as text."""

from __future__ import annotations

from itertools import product

from lora_perf.classifiers import DEFAULT
from lora_perf.core.tables import Table
from lora_perf.report.results import Results
from lora_perf.report.wording import format_p


def results_table(results: Results) -> Table:
    """Mean accuracy with its interval, drops with their paired tests, controls, seconds."""
    first, *others = results.groups
    several = results.classifiers != [DEFAULT]
    columns = ["representation"] + ["classifier"] * several
    numbers = list(results.groups)
    for group in others:
        numbers += [f"drop to {group}", "p"]
    numbers += [f"to {len(results.halves)} halves"] * bool(results.halves) + ["shuffled"] * results.shuffled + ["seconds"]
    title = f"Test accuracy on {results.dataset['name']} (chance {results.chance:.3f}), mean and 95 % interval"
    rows = []
    for name, classifier in product(results.representations, results.classifiers):
        row = [name] + [classifier] * several
        for group in results.groups:
            estimate = results.accuracy(name, group, classifier)
            row.append(f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]" if estimate else "")
        for group in others:
            drop = results.drop(name, group, classifier)
            row += [f"{drop.mean:+.3f} [{drop.low:+.3f}, {drop.high:+.3f}]", format_p(drop.p)] if drop else ["", ""]
        if results.halves:
            halves = results.drop_to_halves(name, classifier)
            row.append(f"{halves.mean:+.3f} ({halves.low:+.3f} to {halves.high:+.3f})" if halves else "")
        if results.shuffled:
            control = results.accuracy(name, first, classifier, shuffled=True)
            row.append(f"{control.mean:.3f}" if control else "")
        cells = [results.cell(name, group, classifier) for group in results.groups]
        row.append(f"{sum(cell.seconds for cell in cells if cell):.1f}")
        rows.append(row)
    return Table(title, [*columns, *numbers], rows, numbers)
