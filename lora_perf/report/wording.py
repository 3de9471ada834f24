"""The sentences and numbers of results as every report says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_perf.classifiers.protocol import Setting
from lora_perf.classifiers.scores import RECALLS
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.showing import duration
from lora_perf.core.text import counted, printable
from lora_perf.representations import REPRESENTATIONS
from lora_perf.representations.learned.untrained import beside

if TYPE_CHECKING:
    from lora_perf.classifiers.metrics import Estimate
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results

RANDOM = "random"  # the split that leaves groups of adapters out of account
TINY_WARNING = (
    "too few adapters to divide: trained and tested on the same rows, so the accuracies say nothing about new adapters"
)


def interval_note(results: Results) -> str:
    """What the intervals and p values of these results hold for."""
    who = "new test adapters"
    groups = results.dataset.get("groups")
    if groups:
        who = f"adapters of a new {printable(groups['column'])}"
    if len(results.repeats) > 1:
        note = f"Intervals hold for {who}, new splits and new seeds ({len(results.repeats)} splits; Nadeau and Bengio 2003)."
    elif all(len(cell.runs) == 1 for cell in results.first):
        said = f"Intervals hold for {who}" + " only: nothing here says how much other seeds would change" * bool(results.seeded)
        note = f"{said}."
    else:
        single = " (of cells with a single run, for the adapters only)" * any(len(cell.runs) == 1 for cell in results.first)
        note = f"Intervals hold for new seeds and {who}{single}."
        if min(len(cell.runs) for cell in results.first if cell.seeded) == 2:
            note += " Two runs tell little of seeds, so intervals are wide."
    note += draws_note(results)
    return f"{note} p: paired t tests over the same, after Holm's correction for all of their kind."


def draws_note(results: Results) -> str:
    """Whether the intervals know how much other draws of representations with random vectors, or other fits, would change."""
    drawn = [name for name in results.representations if is_drawn(name)]
    if len(results.repeats) > 1:  # which fit learned ones anew
        kept = [name for name in drawn if REPRESENTATIONS.named(name).streamed]
        return f" {listed(kept, 4)}: one draw on all splits; other draws are not covered." * bool(kept)
    counts = {len(results.draws_of(one)) for one in results.first if one.representation in drawn and not one.shuffled}
    if max(counts, default=0) > 1:
        tried = bool(results.halves) or any(one.permuted for one in results.first)
        of_first = "; halves and permutations are of the first" * tried
        return f" {listed(drawn, 4)}: for new draws too ({max(counts)} draws{of_first})."
    return f" {listed(drawn, 4)}: one draw; other draws are not covered (--draws)." * bool(drawn)


def is_drawn(name: str) -> bool:
    """Whether a representation is made with random vectors or fitted from a seed; of one that is not known here: no."""
    try:
        return REPRESENTATIONS.named(name).drawn
    except LoraPerfError:
        return False


def division_notes(results: Results) -> list[str]:
    """What to know of groups and copies."""
    data, notes = results.dataset, []
    groups, copies = data.get("groups") or {}, data.get("copies") or {"exact": 0, "near": 0, "alike": 0}
    if groups and data["split"] == "grouped":
        notes.append(
            f"No {groups['column']} ({groups['count']:,} of them) is both learned from and tested; random split: the same "
            "where it may be."
        )
    if data.get("groups_on_both_sides"):
        notes.append(
            f"{counted(data['groups_on_both_sides'], 'test adapter')} with others of their {groups['column']} among those "
            "that are learned from."
        )
    if copies["exact"] + copies["near"]:
        near = f" ({copies['near']:,} of them nearly)" * bool(copies["near"])
        count = counted(copies["exact"] + copies["near"], "adapter")
        notes.append(f"{count} with the update of another{near}: each stayed with its copies on one side.")
    if copies["alike"]:
        notes.append(f"{copies['alike']:,} adapters have nearly the same update: no copies, but hardly independent either.")
    return notes


def baseline_note(results: Results) -> str:
    """What knowing nothing of an adapter scores."""
    found = results.dataset.get("baseline", {})
    if results.task == "classes":
        return f"Accuracy of always naming the commonest class: {results.chance:.3f}."
    if results.task == "numbers":
        return f"R2 of always naming the mean: {results.chance:.3f}, with a mean absolute error of {found['mae']:.4g}."
    if results.task == "several":
        precision = found.get("map", 0.0)
        return f"Labels by how common they are score {results.chance:.3f}, with a mean average precision of {precision:.3f}."
    return f"In any order mean average precision would be {results.chance:.3f}."


MEASURED = {
    "spearman": "Spearman",
    "mae": "mean abs. error",
    "map": "mAP over labels",
    "auc": "mean AUC",
    **{f"recall at {k}": f"recall at {k}" for k in RECALLS},
}  # those of a run's further measures that tables show


def measured(results: Results, cell: CellResult) -> dict[str, str]:
    """The further measures of a cell, with their intervals, under their titles."""
    found = results.measures(cell.representation, cell.group, cell.classifier)
    return {
        title: f"{found[name].mean:.3g} [{found[name].low:.3g}, {found[name].high:.3g}]"
        for name, title in MEASURED.items()
        if name in found
    }


def control_notes(results: Results) -> list[str]:
    """What representations that are controls are."""
    names = results.representations
    numbers = [name for name in ("rank", "norm") if name in names]
    untrained = [name for name in names if name.endswith("_untrained")]
    drawn = [name for name in names if name.startswith("random_pro")]
    notes = [f"Controls: {listed(numbers)}, one number a module."] * bool(numbers)
    notes += [f"{listed(untrained)}: the network as it starts."] * bool(untrained)
    notes += [f"{listed(drawn)}: random numbers of the rows."] * bool(drawn)
    widths = {one.representation: one.features for one in results.first if one.group == results.groups[0]}
    for name in names:
        wrong = [f"{one} ({widths[one]:,})" for one in beside(name) if one in widths and widths[one] != widths[name]]
        if wrong:
            notes.append(f"Not as many features as {name} ({widths[name]:,}): {listed(wrong)}.")
    return notes


def class_notes(untrained: Sequence[str], untested: Sequence[str]) -> list[str]:
    """What to know of classes that have adapters but none to train on, or none to test."""
    notes = [f"classes without a train adapter, so never predicted: {listed(untrained, 5)}"] * bool(untrained)
    return notes + [f"classes without a test adapter, so in no score: {listed(untested, 5)}"] * bool(untested)


def left_out(count: int) -> str:
    """How many files --skip-bad left out."""
    return f"{counted(count, 'adapter file')} left out that could not be used"


def settings(setting: Setting) -> str:
    """What a classifier chose on the validation adapters."""
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in setting.items()
    )


def with_interval(one: Estimate) -> str:
    """A mean and its interval as tables and sentences show them."""
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"


def with_sign(one: Estimate) -> str:
    """A difference and its interval."""
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def format_p(p: float) -> str:
    """A p value as tables show it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def stages(seconds: dict[str, float]) -> str:
    """Seconds per stage in one line."""
    return ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
