"""The ten representations of one matrix, straight from their definitions: float64, one matrix at a time, slow.

Every function takes a 2-D array and returns {feature: value} in column order. Logarithms are natural.
A ratio whose denominator is exactly zero is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Values = dict[str, float]

EPS32 = float(np.finfo(np.float32).eps)
TOP = 10
BINS = 50


def simple_stats(matrix: Matrix) -> Values:
    return {
        "frobenius": np.sqrt(np.sum(matrix**2)),
        "mean": np.mean(matrix),
        "std": np.std(matrix),
        "max": np.max(matrix),
        "min": np.min(matrix),
    }


def stats(matrix: Matrix) -> Values:
    return {
        "mean": np.mean(matrix),
        "std": np.std(matrix),
        "median": np.median(matrix),
        "min": np.min(matrix),
        "max": np.max(matrix),
        "skewness": skewness(matrix),
        "kurtosis": kurtosis(matrix),
    }


def rank_based(matrix: Matrix) -> Values:
    values = quantiles(matrix, (1, 5, 10, 25, 50, 75, 90, 95, 99))
    return values | {"iqr": values["q75"] - values["q25"], "range": values["q99"] - values["q01"]}


def spectral(matrix: Matrix) -> Values:
    singular = np.linalg.svd(matrix, compute_uv=False)
    top = padded(singular)
    shares = [ratio(value, sum(top)) for value in top]
    tolerance = max(matrix.shape) * EPS32 * singular[0]
    significant = singular[singular > tolerance]
    above = [value if value > tolerance else 0.0 for value in top]
    return {
        **{f"sv{i}": top[i] for i in range(TOP)},
        **{f"share{i}": shares[i] for i in range(TOP)},
        **{f"gap{i}": ratio(above[i] - above[i + 1], above[i]) for i in range(TOP - 1)},
        "entropy": entropy(shares),
        "condition": ratio(singular[0], significant[-1]) if len(significant) else 0.0,
        "nuclear": np.sum(singular),
    }


def matrix_norms(matrix: Matrix) -> Values:
    singular = np.linalg.svd(matrix, compute_uv=False)
    frobenius = np.sqrt(np.sum(matrix**2))
    return {
        "frobenius": frobenius,
        "nuclear": np.sum(singular),
        "spectral": singular[0],
        "max_column_sum": np.max(np.sum(np.abs(matrix), axis=0)),
        "max_row_sum": np.max(np.sum(np.abs(matrix), axis=1)),
        "nuclear_over_frobenius": ratio(np.sum(singular), frobenius),
        "spectral_over_frobenius": ratio(singular[0], frobenius),
    }


def distribution(matrix: Matrix) -> Values:
    values = quantiles(matrix, (5, 10, 25, 50, 75, 90, 95))
    floor = EPS32 * np.max(np.abs(matrix))
    return values | {
        "iqr": values["q75"] - values["q25"],
        "mean_absolute_deviation": np.mean(np.abs(matrix - np.mean(matrix))),
        "variation": ratio(np.std(matrix), max(abs(np.mean(matrix)), floor)),
        "skewness": skewness(matrix),
        "kurtosis": kurtosis(matrix),
    }


def frequency(matrix: Matrix) -> Values:
    magnitudes = np.sort(np.abs(np.fft.fft2(matrix)).ravel())[::-1]
    top = padded(magnitudes)
    return {
        **{f"top{i}": top[i] for i in range(TOP)},
        "mean": np.mean(magnitudes),
        "std": np.std(magnitudes),
        "max": np.max(magnitudes),
        "energy_share": ratio(sum(value**2 for value in top), np.sum(magnitudes**2)),
    }


def info_theoretic(matrix: Matrix) -> Values:
    if is_constant(matrix):
        return {"entropy": 0.0, "normalised": 0.0}
    counts, _ = np.histogram(matrix, bins=BINS, range=(np.min(matrix), np.max(matrix)))
    value = entropy(counts / matrix.size)
    return {"entropy": value, "normalised": value / np.log(BINS)}


def flat_vec(matrix: Matrix) -> Values:
    return {str(i): value for i, value in enumerate(matrix.ravel())}


ORACLES: dict[str, Callable[[Matrix], Values]] = {
    "flat_vec": flat_vec,
    "simple_stats": simple_stats,
    "stats": stats,
    "rank_based": rank_based,
    "spectral": spectral,
    "matrix_norms": matrix_norms,
    "distribution": distribution,
    "frequency": frequency,
    "info_theoretic": info_theoretic,
}
# The ensemble is not a function of its own: these, one after another, each with all its layers.
ENSEMBLE = ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")


def oracle(representation: str, matrix: NDArray[np.floating]) -> Values:
    """The features of one matrix; {feature: value} in column order."""
    return {name: float(value) for name, value in ORACLES[representation](np.asarray(matrix, np.float64)).items()}


def parts(representation: str) -> tuple[str, ...]:
    """The representations that one consists of: itself, or those of the ensemble."""
    return ENSEMBLE if representation == "ensemble" else (representation,)


def is_constant(matrix: Matrix) -> bool:
    return bool(np.min(matrix) == np.max(matrix))


def central_moment(matrix: Matrix, order: int) -> float:
    return float(np.mean((matrix - np.mean(matrix)) ** order))


def skewness(matrix: Matrix) -> float:
    return 0.0 if is_constant(matrix) else central_moment(matrix, 3) / central_moment(matrix, 2) ** 1.5


def kurtosis(matrix: Matrix) -> float:
    return 0.0 if is_constant(matrix) else central_moment(matrix, 4) / central_moment(matrix, 2) ** 2 - 3


def quantiles(matrix: Matrix, percents: tuple[int, ...]) -> Values:
    return {f"q{percent:02d}": np.quantile(matrix, percent / 100) for percent in percents}


def padded(descending: Matrix) -> list[float]:
    """The first ten values, zeros where there are fewer."""
    return [*map(float, descending[:TOP]), *[0.0] * (TOP - len(descending))]


def entropy(shares: list[float] | Matrix) -> float:
    return -sum(share * np.log(share) for share in shares if share > 0)


def ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator != 0 else 0.0
