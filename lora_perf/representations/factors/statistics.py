"""Statistics of the entries of a matrix: moments and quantiles, all from one sort."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import Matrices, columns
from lora_perf.representations.kinds import of_matrices


def _quantile_names(levels: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f"q{round(100 * level):02d}" for level in levels)


_RANK_LEVELS = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
_DISTRIBUTION_LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
_EPSILON = torch.finfo(torch.float32).eps


@of_matrices("simple_stats", ("frobenius", "mean", "std", "max", "min"))
def simple_stats(x: Matrices) -> Tensor:
    """Frobenius norm, mean, population standard deviation, maximum, minimum.

    Hides: which entry has which value, as all statistics of the entries do: a permutation of them changes none of these. The
    norm follows from mean and deviation: its square over the number of entries is mean^2 + std^2.
    """
    return columns(x.unit_frobenius * x.scale, x.mean, x.std, x.high.double(), x.low.double())


@of_matrices("stats", ("mean", "std", "median", "min", "max", "skewness", "kurtosis"))
def stats(x: Matrices) -> Tensor:
    """Moments (skewness and excess kurtosis biased, 0 for a constant matrix), median, smallest and largest entry.

    Hides: the order of the entries. Another sign of the factor turns mean, median and skewness and swaps the extremes.
    """
    return columns(x.mean, x.std, x.quantile(0.5), x.low.double(), x.high.double(), x.skewness, x.kurtosis)


@of_matrices("rank_based", (*_quantile_names(_RANK_LEVELS), "iqr", "range"))
def rank_based(x: Matrices) -> Tensor:
    """Nine quantiles, interquartile range, and q99 - q01.

    Hides: the order of the entries. Both ranges are differences of the quantiles beside them, so that a linear reader learns
    nothing from them; at 16 or 32 entries q01 and q99 lie between the two most extreme entries.
    """
    quantiles = [x.quantile(level) for level in _RANK_LEVELS]
    return columns(*quantiles, quantiles[5] - quantiles[3], quantiles[8] - quantiles[0])


@of_matrices(
    "distribution",
    (*_quantile_names(_DISTRIBUTION_LEVELS), "iqr", "mean_absolute_deviation", "variation", "skewness", "kurtosis"),
)
def distribution(x: Matrices) -> Tensor:
    """Seven quantiles, interquartile range, mean absolute deviation, coefficient of variation, skewness, kurtosis.

    The coefficient of variation std / |mean| takes no mean below float32's resolution of the largest entry, so that it
    stays finite and is no rounding noise.

    Hides: the order of the entries; the interquartile range is a difference of two quantiles beside it.
    """
    quantiles = [x.quantile(level) for level in _DISTRIBUTION_LEVELS]
    deviation = x.unit_centred.abs().mean(dim=1).double().masked_fill_(x.constant, 0) * x.scale
    largest = torch.maximum(x.low.abs(), x.high.abs()).double()
    floor = torch.maximum(x.mean.abs(), _EPSILON * largest).masked_fill_(largest == 0, 1)
    return columns(*quantiles, quantiles[4] - quantiles[2], deviation, x.std / floor, x.skewness, x.kurtosis)
