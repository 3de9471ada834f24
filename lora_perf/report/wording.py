"""The sentences and numbers of results as every report says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_perf.classifiers.protocol import Setting
from lora_perf.core.errors import listed
from lora_perf.core.text import counted

if TYPE_CHECKING:
    from lora_perf.report.results import Results

INTERVAL_NOTE = (
    "Intervals hold for new seeds and new test adapters; p: paired t test over both, of this comparison alone "
    "(report.html corrects for all of them)."
)
SINGLE_NOTE = "Cells with a single run: intervals and p hold for new test adapters only."
TINY_WARNING = (
    "too few adapters to divide: trained and tested on the same rows, so the accuracies say nothing about new adapters"
)


def interval_note(results: Results) -> str:
    """What the intervals of these results hold for."""
    counts = {len(cell.runs) == 1 for cell in results.cells}
    return " ".join(note for single, note in ((False, INTERVAL_NOTE), (True, SINGLE_NOTE)) if single in counts)


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


def format_p(p: float) -> str:
    """A p value as tables show it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def stages(seconds: dict[str, float]) -> str:
    """Seconds per stage in one line."""
    return ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
