"""Tables of answers, runs by test adapters: their mean and how far that may be off, rows and columns both being samples."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lora_perf.core.errors import LoraPerfError

Floats = NDArray[np.float64]


def of_draws(cells: Floats, draws: int) -> Floats:
    """Cells (s, n) of runs of several draws as those (draws, n) of draws, each the mean of its runs."""
    return cells if draws == 1 else np.asarray(cells.reshape(draws, -1, cells.shape[1]).mean(axis=1))


def of_clusters(cells: Floats, clusters: ArrayLike | None) -> Floats:
    """Cells (s, n) of adapters as those (s, c) of clusters, whose mean is the same and whose columns are independent.

    Column c is the mean of the run plus (c - 1) / (n - n_c) times the sum over the cluster of what its adapters are above it:
    what the mean would lose without the cluster, as the jackknife has it, which for clusters of one size is their mean. Its
    variance is that of clusters of any size (CR3 of Bell and McCaffrey 2002; a little too large rather than too small).

    Raises:
        LoraPerfError: all adapters in one cluster, which tells nothing of others.
    """
    if clusters is None:
        return cells
    _, of = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(of)
    count, n = len(sizes), len(of)
    if count < 2:
        raise LoraPerfError(
            expected="test adapters of at least two groups",
            found=f"a single one of all {n:,}",
            fix="choose another column for the groups, or another --seed",
        )
    of_run = cells.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(of, row, count) for row in cells - of_run])
    apart = sums * ((count - 1) / (n - sizes))
    return np.asarray(of_run + apart - apart.mean(axis=1, keepdims=True))


def crossed(cells: Floats) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of the mean of cells (s, n), rows and columns both random.

    In the two-way random model y_ij = mu + run_i + adapter_j + e_ij the mean squares have the expectations
    n var_run + var_e, s var_adapter + var_e and var_e, so that Var(mean) = (MS_run + MS_adapter - MS_e) / (s n)
    (Cornfield and Tukey 1956; for readers and cases Gallas 2006, Hillis 2007). Variances estimated below zero count
    as zero: a mean square below MS_e is raised to it. Degrees of freedom after Satterthwaite (1946).
    With one run, or one adapter, the other is the only source of variance.

    Two runs leave one degree of freedom to var_run: it is often seen as 0, and Satterthwaite's t may reach 12.7, of which an
    interval is all of 0 to 1. So MS_run counts as no less than MS_e there, MS_e is not subtracted (a variance that is at least
    the true one on average; for clusters in two ways Cameron, Gelbach and Miller 2011), and there are two degrees of freedom
    or more.
    """
    s, n = cells.shape
    mean = float(cells.mean())
    if s == 1 or n == 1:
        flat = cells.reshape(-1)
        return mean, float(flat.std(ddof=1) / sqrt(flat.size)), float(flat.size - 1)
    df_e = (s - 1) * (n - 1)
    ms_run, ms_adapter, ms_e = _mean_squares(cells)
    if np.ptp(cells) == 0:
        return mean, 0.0, float(df_e)
    terms: tuple[tuple[float, int], ...]
    if s == 2:
        terms = ((max(ms_run, ms_e), 1), (ms_adapter, n - 1))
    elif ms_run >= ms_e and ms_adapter >= ms_e:
        terms = ((ms_run, s - 1), (ms_adapter, n - 1), (-ms_e, df_e))
    else:
        terms = (max((ms_run, s - 1), (ms_adapter, n - 1), (ms_e, df_e)),)
    total = sum(ms for ms, _ in terms)
    df = total**2 / sum(ms**2 / df for ms, df in terms)
    return mean, sqrt(total / (s * n)), max(float(df), 2.0) if s == 2 else float(df)


def apart(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of the difference a - b of cells (s, n) and (t, n), whose columns are paired
    and whose rows are not: draws or runs of one side and of the other.

    To the variance of the paired columns comes what rows add on each side, as `crossed` has it.
    """
    columns = a.mean(axis=0) - b.mean(axis=0)
    n = len(columns)
    of_columns = float(columns.var(ddof=1)) / n
    total, squares, few = of_columns, of_columns**2 / (n - 1), False
    for side in (a, b):
        s = len(side)
        if s > 1 and np.ptp(side) > 0:
            ms_run, _, ms_e = _mean_squares(side)
            few |= s == 2
            added = max(ms_run, ms_e) if s == 2 else max(0.0, ms_run - ms_e)
            total += added / (s * n)
            if added:
                squares += (ms_run / (s * n)) ** 2 / (s - 1) + (ms_e / (s * n)) ** 2 / ((s - 1) * (n - 1)) * (s > 2)
    df = total**2 / squares if squares else float(n - 1)
    return float(columns.mean()), sqrt(total), max(df, 2.0) if few else df


def _mean_squares(cells: Floats) -> tuple[float, float, float]:
    """Of runs, of adapters and of what neither explains, of cells (s, n)."""
    s, n = cells.shape
    mean, of_run, of_adapter = cells.mean(), cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    ms_run = n * float(np.square(of_run - mean).sum()) / (s - 1)
    ms_adapter = s * float(np.square(of_adapter - mean).sum()) / (n - 1)
    return ms_run, ms_adapter, float(np.square(cells - of_run - of_adapter + mean).sum()) / ((s - 1) * (n - 1))
