"""Accuracy against the number of adapters that are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.classifiers.metrics import Estimate, PairedDifference, accuracy_of, paired_difference
from lora_perf.core.tables import Table
from lora_perf.report.parts import drawn_answers
from lora_perf.report.wording import with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.report.results import Results


@dataclass(frozen=True)
class SizeCurve:
    """Scores of one representation on the first group, read by one classifier.

    Attributes:
        points: train adapters, and the score with so many, ascending; the last are all. Of fewer the interval holds for other
            draws of the train adapters too, of all for seeds and test adapters.
        doubled: what all of them add to the largest size of at most half as many; None without such a size.
    """

    representation: str
    classifier: str
    points: Sequence[tuple[int, Estimate]]
    half: int
    doubled: PairedDifference | None


def size_curves(results: Results) -> list[SizeCurve]:
    """A curve for each representation and classifier that learned from fewer adapters too."""
    by_size: dict[int, list[str]] = {}
    for name in results.divisions("size"):
        by_size.setdefault(results.tested[name].trained, []).append(name)
    group, found = results.groups[0], []
    for classifier in results.classifiers:
        for representation in results.representations:
            of_size = {
                size: results.answers(representation, group, classifier, divisions=names)
                for size, names in sorted(by_size.items())
            }
            whole = results.answers(representation, group, classifier, divisions=[""])
            if not whole or not all(of_size.values()) or not of_size:
                continue
            drawn = {size: drawn_answers(answers) for size, answers in of_size.items()}
            count = results.tested[""].trained
            points = [(size, accuracy_of([one])) for size, one in drawn.items()] + [(count, accuracy_of(whole))]
            half = max((size for size in drawn if 2 * size <= count), default=0)
            doubled = None
            if half:
                right = np.asarray(drawn[half].right)
                of_all = np.repeat(np.asarray(whole[0].right, np.float64).mean(axis=0)[None], len(right), axis=0)
                doubled = paired_difference(of_all, right, whole[0].clusters)
            found.append(SizeCurve(representation, classifier, points, half, doubled))
    return found


def size_table(curves: Sequence[SizeCurve], classifier: str) -> Table:
    """Scores by the number of train adapters, a row for each representation, the strongest with all of them first."""
    shown = sorted((one for one in curves if one.classifier == classifier), key=lambda one: -one.points[-1][1].mean)
    sizes = [f"{size:,}" for size, _ in shown[0].points]
    last = f"{sizes[-1]} less {shown[0].half:,}" if shown[0].half else ""
    rows = [
        [one.representation, *(with_interval(score) for _, score in one.points)]
        + ([with_sign(one.doubled)] if one.doubled else [])
        for one in shown
    ]
    columns = ["representation", *sizes, *[last] * bool(last)]
    return Table(f"Train adapters, read by {classifier}", columns, rows, columns[1:])


def size_note(results: Results, curves: Sequence[SizeCurve]) -> str:
    """What more adapters would be worth, of the strongest."""
    best = max(curves, key=lambda one: one.points[-1][1].mean)
    note = (
        "Fewer train adapters are drawn five times from those of the split, with as large a share of the validation adapters; "
        "the test adapters stay."
    )
    if best.doubled is None:
        return note
    d = best.doubled
    told = "still helps" if d.low > 0 else "cannot be seen to help"
    return (
        f"{best.representation}, read by {best.classifier}: from {best.half:,} to {best.points[-1][0]:,} train adapters "
        f"{results.measure} changes by {with_sign(d)}, so more of them {told}. {note}"
    )
