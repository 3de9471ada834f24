"""What is reported of predictions, with intervals over runs and test adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lora_perf.classifiers.crossed import Floats, apart, crossed, of_clusters, of_draws
from lora_perf.core.errors import LoraPerfError


@dataclass(frozen=True, eq=False)
class Scores:
    """Per run (s,): accuracy, and macro means over the classes that occur in its truth or its predictions, as scikit-learn
    defines them by default (no precision or recall counts as 0); `confusion` (s, c, c) counts true by predicted.
    """

    accuracy: Floats
    macro_f1: Floats
    macro_precision: Floats
    macro_recall: Floats
    confusion: NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, standard error and degrees of freedom."""

    mean: float
    low: float
    high: float
    se: float
    df: float


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """The mean of a - b with the two-sided p value of its t test."""

    p: float


def score(predictions: ArrayLike, truth: ArrayLike, n_classes: int) -> Scores:
    """Scores of each run.

    Shapes: predictions (s, n), truth (n,).
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    # scikit-learn warns of a confusion matrix of a single class.
    true, classes = np.asarray(truth), np.arange(max(2, n_classes))
    runs = np.asarray(predictions)
    macro = np.array([precision_recall_fscore_support(true, run, average="macro", zero_division=0)[:3] for run in runs])
    return Scores(
        accuracy=np.array([accuracy_score(true, run) for run in runs], np.float64),
        macro_precision=macro[:, 0].astype(np.float64),
        macro_recall=macro[:, 1].astype(np.float64),
        macro_f1=macro[:, 2].astype(np.float64),
        confusion=np.stack([confusion_matrix(true, run, labels=classes) for run in runs])[:, :n_classes, :n_classes],
    )


def accuracy(correct: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95, *, draws: int = 1) -> Estimate:
    """The mean accuracy of runs on test adapters, both taken as samples: it holds for new seeds and new adapters.

    The interval is Wilson's (1927) for the effective number of adapters n_eff = mean (1 - mean) / se^2, with the quantile of
    Student's t as Korn and Graubard (1998) have it: all p with (mean - p)^2 <= t^2 p (1 - p) / n_eff. Near 0 and 1, where
    mean +- t se covers too seldom, it leans to the middle. Where all answers are alike there is no variance to estimate from;
    the interval is then Clopper and Pearson's (1934) for the test adapters. A single run says nothing of other seeds.

    How often it covers the truth, in %, in 4,000 simulated tables a number (of 2,000 adapters: 400): probit answers whose
    adapters vary as much as the rest, and runs a tenth of that (accuracies of seeds then vary by .03 at .5); a single run
    without such an effect. For accuracies of .1, .5, .9 and .97:

    | adapters | 1 run       | 2 runs          | 3 runs      | 10 runs     |
    | ---      | ---         | ---             | ---         | ---         |
    | 20       | 96 96 96 98 | 100 100 100 99  | 98 98 98 97 | 94 96 94 98 |
    | 100      | 94 94 94 96 | 99 99 100 100   | 96 96 96 97 | 96 95 95 94 |
    | 200      | 96 95 96 94 | 99 99 99 100    | 96 95 96 97 | 95 95 95 94 |
    | 2,000    | 96 94 95 95 | 94 95 96 98     | 92 92 92 95 | 96 95 96 96 |

    Adapters of one creator are right or wrong together: with clusters these are the sample, see `of_clusters`. Of values that
    are not 0 and 1, what each adapter adds to another score, the interval is mean +- t se.

    With several draws of a representation these are the sample in place of runs: each counts by the mean of its runs, whose own
    variance is a part of that between draws.

    Shapes: correct (s, n), draw after draw; clusters (n,), equal for adapters that belong together.
    Raises:
        LoraPerfError: a single answer, or no matrix, or a single cluster.
    """
    answers = _matrix(correct)
    cells = of_clusters(of_draws(answers, draws), clusters)
    mean, se, df = crossed(cells)
    if not _are_shares(answers):
        return symmetric(mean, se, df, level)
    if se == 0:
        bound = ((1 - level) / 2) ** (1 / cells.shape[1])
        low, high = (bound, 1.0) if mean == 1 else (0.0, 1 - bound) if mean == 0 else (mean, mean)
        return Estimate(mean, low, high, se, df)
    return _share(mean, se, df, level)


def _are_shares(answers: Floats | NDArray[np.bool_]) -> bool:
    return bool(((answers == 0) | (answers == 1)).all())


def symmetric(mean: float, se: float, df: float, level: float = 0.95) -> Estimate:
    """Student's interval of a mean."""
    half = se * _t_quantile(level, df)
    return Estimate(mean, mean - half, mean + half, se, df)


def _share(mean: float, se: float, df: float, level: float) -> Estimate:
    """Wilson's interval of a share for the number of answers that its standard error is that of."""
    spread = mean * (1 - mean)
    k = _t_quantile(level, df) ** 2 * se**2 / spread  # t^2 / n_eff
    centre, half = (mean + k / 2) / (1 + k), sqrt(k * (spread + k / 4)) / (1 + k)
    return Estimate(mean, max(0.0, centre - half), min(1.0, centre + half), se, df)


def paired_difference(
    correct_a: ArrayLike, correct_b: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> PairedDifference:
    """The difference in mean accuracy a - b of the same seeds on the same test adapters.

    Of 2,500 simulated pairs (2,000 adapters: 300) of one accuracy, with adapters that suit one side by half of what they vary
    and runs as in `accuracy`, p is below .05 for 0 to 5 % at 20 to 200 adapters and 2, 3 or 10 runs. Where seeds count for more
    than adapters it finds too much: 7 to 12 % for 2 or 3 runs on 2,000 adapters, 3 to 6 % for 10. A single run sees none of it.

    Shapes: both (s, n) of 0 and 1, rows and columns paired; clusters (n,), as `accuracy` takes them.
    Raises:
        LoraPerfError: shapes that differ, or a single pair, or a single cluster.
    """
    a, b = _matrix(correct_a), _matrix(correct_b)
    if a.shape != b.shape:
        raise LoraPerfError(
            expected="the same seeds and test adapters on both sides",
            found=f"{a.shape[0]} x {a.shape[1]} and {b.shape[0]} x {b.shape[1]} answers",
            fix="compare cells of one experiment",
        )
    return _difference(*crossed(of_clusters(a - b, clusters)), level)


def by_t(mean: float, se: float, df: float, level: float = 0.95) -> PairedDifference:
    """A difference with Student's interval and the p value of its t test."""
    from scipy.stats import t

    if se == 0:
        return PairedDifference(mean, mean, mean, se, df, 1.0 if mean == 0 else 0.0)
    half = se * _t_quantile(level, df)
    return PairedDifference(mean, mean - half, mean + half, se, df, float(2 * t.sf(abs(mean) / se, df)))


def _difference(mean: float, se: float, df: float, level: float) -> PairedDifference:
    """That of two shares, which is within 1."""
    one = by_t(mean, se, df, level)
    return one if se == 0 else replace(one, low=max(-1.0, one.low), high=min(1.0, one.high))


@dataclass(frozen=True, eq=False)
class Answers:
    """What the runs of a cell got right on the test adapters of one split.

    Attributes:
        right: (s, n) of 0 and 1, draw after draw of the representation.
        clusters: (n,) which adapters belong together; None where each stands for itself.
        learned: how many adapters were learned from, those of validation included.
        draws: of how many draws the runs are.
    """

    right: NDArray[np.bool_] | Floats
    clusters: NDArray[np.int64] | None
    learned: int
    draws: int = 1

    @property
    def mean(self) -> float:
        return float(np.mean(self.right))


def accuracy_of(answers: Sequence[Answers], level: float = 0.95) -> Estimate:
    """The mean accuracy over one split, as `accuracy` has it, or over several of one zoo.

    Over several the variance is that between splits, Nadeau and Bengio's (2003): (1 / K + n_test / n_learned) s^2 with K - 1
    degrees of freedom, since the splits share adapters. The interval holds for new adapters, splits and seeds.
    """
    if len(answers) == 1:
        return accuracy(answers[0].right, answers[0].clusters, level, draws=answers[0].draws)
    mean, se, df = _over_splits([one.mean for one in answers], answers)
    shares = se > 0 and all(_are_shares(one.right) for one in answers)
    return _share(mean, se, df, level) if shares else symmetric(mean, se, df, level)


def difference_of(first: Sequence[Answers], second: Sequence[Answers], level: float = 0.95) -> PairedDifference:
    """The mean difference first - second over one split, as `paired_difference` has it, or over several: see `accuracy_of`."""
    if len(first) != len(second):
        raise LoraPerfError(
            expected="answers over the same splits on both sides",
            found=f"{len(first)} and {len(second)} splits",
            fix="compare cells of one experiment",
        )
    if len(first) == 1:
        (one,), (two,) = first, second
        if one.draws == two.draws == 1:
            return paired_difference(one.right, two.right, one.clusters, level)
        a, b = (of_draws(_matrix(each.right), each.draws) for each in (one, two))
        if one.draws == two.draws:  # of the same vectors, where both read them
            return paired_difference(a, b, one.clusters, level)
        return _difference(*apart(of_clusters(a, one.clusters), of_clusters(b, one.clusters)), level)
    means = [one.mean - two.mean for one, two in zip(first, second, strict=True)]
    return _difference(*_over_splits(means, first), level)


def _over_splits(values: Sequence[float], answers: Sequence[Answers]) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom over repeated splits (Nadeau and Bengio 2003)."""
    count = len(values)
    tested = float(np.mean([one.right.shape[1] / one.learned for one in answers]))
    variance = float(np.var(values, ddof=1)) if np.ptp(values) > 0 else 0.0
    return float(np.mean(values)), sqrt((1 / count + tested) * variance), float(count - 1)


def _matrix(correct: ArrayLike) -> Floats:
    cells = np.asarray(correct, np.float64)
    if cells.ndim != 2 or cells.size < 2:
        raise LoraPerfError(
            expected="answers (runs, test adapters), at least two of them",
            found=f"shape {cells.shape}",
            fix="use more runs or more test adapters",
        )
    return cells


def _t_quantile(level: float, df: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df))
