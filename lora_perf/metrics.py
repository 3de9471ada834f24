"""What is reported of predictions, with intervals over runs and test adapters."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lora_perf.errors import LoraPerfError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Per run (s,): accuracy and macro means over all classes; `confusion` (s, c, c) counts true by predicted."""

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

    true, classes = np.asarray(truth), np.arange(n_classes)
    runs = np.asarray(predictions)
    macro = np.array(
        [precision_recall_fscore_support(true, run, labels=classes, average="macro", zero_division=0)[:3] for run in runs]
    )
    return Scores(
        accuracy=np.array([accuracy_score(true, run) for run in runs], np.float64),
        macro_precision=macro[:, 0].astype(np.float64),
        macro_recall=macro[:, 1].astype(np.float64),
        macro_f1=macro[:, 2].astype(np.float64),
        confusion=np.stack([confusion_matrix(true, run, labels=classes) for run in runs]).astype(np.int64),
    )


def accuracy(correct: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean accuracy of runs on test adapters, both taken as samples: it holds for new seeds and new adapters.

    Where all answers are alike there is no variance to estimate from; the interval is then Clopper and Pearson's
    (1934) for the test adapters.

    Shapes: correct (s, n) of 0 and 1.
    Raises:
        LoraPerfError: a single answer, or no matrix.
    """
    cells = _matrix(correct)
    mean, se, df = _crossed(cells)
    if se == 0:
        bound = ((1 - level) / 2) ** (1 / cells.shape[1])
        low, high = (bound, 1.0) if mean == 1 else (0.0, 1 - bound) if mean == 0 else (mean, mean)
        return Estimate(mean, low, high, se, df)
    half = se * _t_quantile(level, df)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), se, df)


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> PairedDifference:
    """The difference in mean accuracy a - b of the same seeds on the same test adapters.

    Shapes: both (s, n) of 0 and 1, rows and columns paired.
    Raises:
        LoraPerfError: shapes that differ, or a single pair.
    """
    from scipy.stats import t

    a, b = _matrix(correct_a), _matrix(correct_b)
    if a.shape != b.shape:
        raise LoraPerfError(
            expected="the same seeds and test adapters on both sides",
            found=f"{a.shape[0]} x {a.shape[1]} and {b.shape[0]} x {b.shape[1]} answers",
            fix="compare cells of one experiment",
        )
    mean, se, df = _crossed(a - b)
    if se == 0:
        return PairedDifference(mean, mean, mean, se, df, 1.0 if mean == 0 else 0.0)
    half = se * _t_quantile(level, df)
    p = float(2 * t.sf(abs(mean) / se, df))
    return PairedDifference(mean, max(-1.0, mean - half), min(1.0, mean + half), se, df, p)


def _matrix(correct: ArrayLike) -> Floats:
    cells = np.asarray(correct, np.float64)
    if cells.ndim != 2 or cells.size < 2:
        raise LoraPerfError(
            expected="answers (runs, test adapters), at least two of them",
            found=f"shape {cells.shape}",
            fix="use more runs or more test adapters",
        )
    return cells


def _crossed(cells: Floats) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of the mean of cells (s, n), rows and columns both random.

    In the two-way random model y_ij = mu + run_i + adapter_j + e_ij the mean squares have the expectations
    n var_run + var_e, s var_adapter + var_e and var_e, so that Var(mean) = (MS_run + MS_adapter - MS_e) / (s n)
    (Cornfield and Tukey 1956; for readers and cases Gallas 2006, Hillis 2007). Variances estimated below zero count
    as zero: a mean square below MS_e is raised to it. Degrees of freedom after Satterthwaite (1946).
    With one run, or one adapter, the other is the only source of variance.
    """
    s, n = cells.shape
    mean = float(cells.mean())
    if s == 1 or n == 1:
        flat = cells.reshape(-1)
        return mean, float(flat.std(ddof=1) / sqrt(flat.size)), float(flat.size - 1)
    of_run, of_adapter = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    ms_run = n * float(np.square(of_run - mean).sum()) / (s - 1)
    ms_adapter = s * float(np.square(of_adapter - mean).sum()) / (n - 1)
    df_e = (s - 1) * (n - 1)
    ms_e = float(np.square(cells - of_run - of_adapter + mean).sum()) / df_e
    if np.ptp(cells) == 0:
        return mean, 0.0, float(df_e)
    terms: tuple[tuple[float, int], ...]
    if ms_run >= ms_e and ms_adapter >= ms_e:
        terms = ((ms_run, s - 1), (ms_adapter, n - 1), (-ms_e, df_e))
    else:
        terms = (max((ms_run, s - 1), (ms_adapter, n - 1), (ms_e, df_e)),)
    total = sum(ms for ms, _ in terms)
    df = total**2 / sum(ms**2 / df for ms, df in terms)
    return mean, sqrt(total / (s * n)), float(df)


def _t_quantile(level: float, df: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df))
