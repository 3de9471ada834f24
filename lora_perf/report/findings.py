"""What was found, in sentences made of the numbers, and what to know before they are believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.core.errors import listed
from lora_perf.core.text import counted
from lora_perf.report.comparisons import Compared, detectable
from lora_perf.report.summary import learned
from lora_perf.report.wording import (
    TINY_WARNING,
    baseline_note,
    class_notes,
    division_notes,
    left_out,
    with_interval,
)

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results

NORM = "norm"  # the control of one norm a module


def findings(results: Results, found: Sequence[Compared], dropped: Sequence[Compared]) -> list[str]:
    """What was found, in a few sentences made of the numbers.

    Args:
        found: the pairs of representations that the best cell's classifier reads.
        dropped: all drops.
    """
    best = best_cell(results)
    estimate = results.accuracy(best.representation, best.group, best.classifier)
    assert estimate is not None
    name = f"{best.representation} read by {best.classifier}"
    told = [f"{name} reads most on {best.group}: {results.measure} {with_interval(estimate)}. {baseline_note(results)}"]
    if found:
        apart = sum(one.differs for one in found)
        beaten = [one.second for one in found if one.first == best.representation and not one.differs]
        rest = f"; {listed(beaten, 3)} cannot be told from it" if beaten else ""
        told.append(f"Of the {counted(len(found), 'pair')} of representations {apart} differ after Holm's correction{rest}.")
        least = detectable([one.difference for one in found], len(found))
        if least is not None:
            told.append(f"Two would have had to differ by {least:.3f} to be told apart in four of five such experiments.")
    told += norm_note(found)
    if dropped:
        lost = [one for one in dropped if one.differs and one.difference.mean > 0]
        told.append(
            f"Of the {counted(len(dropped), 'drop')} from {results.groups[0]} {len(lost)} "
            f"{'stands' if len(lost) == 1 else 'stand'} after the correction."
        )
    return told


def norm_note(found: Sequence[Compared]) -> list[str]:
    """Which representations read no more than the norms of modules, where these stand beside them."""
    beside = [one for one in found if NORM in (one.first, one.second)]
    if not beside:
        return []
    more = [one.first for one in beside if one.second == NORM and one.differs]
    rest = [one.second if one.first == NORM else one.first for one in beside]
    less = [name for name in rest if name not in more]
    if not less:
        return ["All of them read more than the norms of modules alone do."]
    return [f"{listed(less, 4)} {'reads' if len(less) == 1 else 'read'} no more than the norms of modules alone ({NORM}) do."]


def best_cell(results: Results) -> CellResult:
    """The cell of the highest mean accuracy on the first group."""
    cells = [one for one in results.first if not one.shuffled and one.group == results.groups[0]] or results.first
    return max(cells, key=lambda one: float(np.mean([results.gains(draw).mean() for draw in results.draws_of(one)])))


def about(results: Results) -> str:
    """What was learned of which adapters, in one line."""
    data = results.dataset
    return (
        f"{counted(data['adapters'], 'adapter')} of {counted(data['parameters'], 'parameter')}, "
        f"{learned(results)}; {data['train']:,} train, {data['validation']:,} validation, "
        f"{data['test']:,} test adapters (split {data['split']})."
    )


def warnings(results: Results) -> list[str]:
    """What to know of the data and the runs, a sentence each."""
    data = results.dataset
    found = [TINY_WARNING] * bool(data["resubstitution"])
    found += [left_out(len(data["skipped"]))] * bool(data["skipped"])
    again = data.get("repeated") or {"test": 0}
    if again["test"]:
        found.append(f"{again['test']:,} of the test adapters have the weights of a train or validation adapter")
    if results.seeded and all(len(cell.runs) == 1 for cell in results.first if cell.seeded):
        found.append("A single run of each cell: nothing here says how much other seeds would change")
    found += [note.rstrip(".") for note in division_notes(results)]
    return found + class_notes(data.get("untrained", ()), data.get("untested", ()))
