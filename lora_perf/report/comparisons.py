"""What a whole table of results tells: which of many differences stand once all are counted, and what could have been found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.classifiers.metrics import Answers, PairedDifference, difference_of

if TYPE_CHECKING:
    from lora_perf.report.results import Results

LEVEL = 0.05
MARGIN = 0.01  # within which two accuracies are practically the same
_POWER = 0.8


@dataclass(frozen=True)
class Compared:
    """A difference with its p value among all of its table.

    Attributes:
        first, second: what is compared: representations, or groups of one.
        difference: accuracy of the first less that of the second, with its interval and raw p.
        holm: its p value after Holm's correction over the whole table.
        same: the probability that the difference is within 1 % of accuracy, with nothing known before.
    """

    first: str
    second: str
    difference: PairedDifference
    holm: float
    same: float

    @property
    def differs(self) -> bool:
        return self.holm < LEVEL


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for as many tests (Holm 1979): of all that are below a level, one is false by chance that often.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps)
    corrected, least = np.empty(len(ps)), 0.0
    for place, at in enumerate(order.tolist()):
        least = max(least, min(1.0, (len(ps) - place) * ps[at]))
        corrected[at] = least
    return [float(p) for p in corrected]


def within(difference: PairedDifference, margin: float = MARGIN) -> float:
    """The probability that a difference is less than a margin either way, where every value was as likely before.

    Of Student's t around the mean, as Benavoli, Corani, Demsar and Zaffalon (2017) take it for cross-validation.
    """
    from scipy.stats import t

    if difference.se == 0:
        return float(abs(difference.mean) < margin)
    low, high = ((side - difference.mean) / difference.se for side in (-margin, margin))
    return float(t.cdf(high, difference.df) - t.cdf(low, difference.df))


def detectable(differences: Sequence[PairedDifference], tests: int = 1) -> float | None:
    """The accuracy by which two have to differ to be told apart in 80 % of such experiments; None where nothing varies.

    Args:
        tests: of the table, among which Holm's correction asks most of the first: level / tests.
    """
    from scipy.stats import t

    sizes = [float(t.isf(LEVEL / tests / 2, one.df) + t.ppf(_POWER, one.df)) * one.se for one in differences if one.se > 0]
    return float(np.median(sizes)) if sizes else None


def drops(results: Results) -> dict[tuple[str, str, str], Compared]:
    """All drops from the first group, by representation, group and classifier, corrected together."""
    found = {
        (name, group, classifier): drop
        for classifier in results.classifiers
        for name in results.representations
        for group in results.groups[1:]
        if (drop := results.drop(name, group, classifier)) is not None
    }
    corrected = holm([one.p for one in found.values()])
    first = results.groups[0]
    return {key: Compared(first, key[1], one, p, within(one)) for (key, one), p in zip(found.items(), corrected, strict=True)}


def pairs(results: Results, classifier: str) -> list[Compared]:
    """All pairs of representations on the first group, read by one classifier, the better one first, corrected together."""
    answers: dict[str, list[Answers]] = {}
    for name in results.representations:
        if found := results.answers(name, results.groups[0], classifier):
            answers[name] = found
    order = sorted(answers, key=lambda name: -float(np.mean([one.mean for one in answers[name]])))
    compared = []
    for one, two in combinations(order, 2):
        a, b = answers[one][0], answers[two][0]
        if a.draws != b.draws or len(a.right) == len(b.right):
            compared.append((one, two, difference_of(answers[one], answers[two])))
    corrected = holm([difference.p for _, _, difference in compared])
    return [Compared(one, two, d, p, within(d)) for (one, two, d), p in zip(compared, corrected, strict=True)]


def ranks(results: Results, classifier: str) -> tuple[dict[str, float], float] | None:
    """Mean ranks of representations over test adapters on the first group, and Nemenyi's critical difference (Demsar 2006).

    Adapters are the blocks: a representation is ranked by the share of its runs that are right. None for fewer than two.
    """
    from scipy.stats import rankdata, studentized_range

    right = {
        name: np.mean([results.gains(one).mean(axis=0) for one in results.draws_of(cell)], axis=0)
        for name in results.representations
        if (cell := results.cell(name, results.groups[0], classifier)) is not None
    }
    k, n = len(right), len(results.truth)
    if k < 2:
        return None
    table = rankdata(-np.stack(list(right.values())), axis=0)
    critical = float(studentized_range.isf(LEVEL, k, np.inf)) / sqrt(2) * sqrt(k * (k + 1) / (6 * n))
    return dict(zip(right, table.mean(axis=1).tolist(), strict=True)), critical
