"""How far a float32 feature may lie from its float64 oracle: absolute bounds, each against the scale of its quantity.

Entries and extremes are exact; everything that is well conditioned is `FINE`, within 8 float32 roundings of itself.
What is not, is bounded by how much it moves when its ingredients move within their own bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.oracles import EPS32, Matrix, Values, oracle

FINE = 8 * EPS32
COARSE = 1e-5
FLOAT32_MAX = float(np.finfo(np.float32).max)
# Half the spacing of the subnormal float32 numbers: what rounding costs where there is no relative precision left.
SMALLEST = 2.0**-150


def assert_features_close(found: Values, representation: str, matrix: NDArray[np.floating]) -> None:
    """Every feature of one matrix is finite and within its bound of the oracle; those beyond float32 are saturated.

    Raises:
        AssertionError: listing each feature that is not, with both values and the bound.
    """
    expected, bounds = expected_within(representation, matrix.shape, matrix.astype(np.float64).tobytes())
    assert list(found) == list(expected) == list(bounds)
    wrong = [
        f"{name}: found {found[name]!r}, expected {expected[name]!r} within {bounds[name]:.3g}"
        for name in expected
        if not is_within(found[name], expected[name], bounds[name])
    ]
    if wrong:
        raise AssertionError("\n".join([f"{representation} of {matrix.shape}:", *wrong]))


def is_within(found: float, expected: float, bound: float) -> bool:
    """Written so that a nan anywhere is outside."""
    saturated = float(np.clip(expected, -FLOAT32_MAX, FLOAT32_MAX))
    return bool(np.isfinite(found)) and abs(found - saturated) <= bound + SMALLEST


@lru_cache(maxsize=1 << 12)
def expected_within(representation: str, shape: tuple[int, ...], entries: bytes) -> tuple[Values, Values]:
    """{feature: value} and {feature: largest absolute error} of one matrix; remembered, for many tests share matrices."""
    matrix = np.frombuffer(entries).reshape(shape)
    values = oracle(representation, matrix)
    bounds = {name: FINE * abs(value) for name, value in values.items()}
    if representation in _SPECIAL:
        bounds |= _SPECIAL[representation](matrix, values)
    return values, bounds


def _flat_vec(matrix: Matrix, values: Values) -> Values:
    return dict.fromkeys(values, 0.0)


def _simple_stats(matrix: Matrix, values: Values) -> Values:
    return {
        "frobenius": _sum(matrix) * values["frobenius"],
        "mean": _mean(matrix),
        "std": _sum(matrix) * values["std"],
        "max": 0.0,
        "min": 0.0,
    }


def _stats(matrix: Matrix, values: Values) -> Values:
    return {
        "mean": _mean(matrix),
        "std": _sum(matrix) * values["std"],
        "median": _quantile(matrix, 50),
        "min": 0.0,
        "max": 0.0,
        **_moments(matrix, values),
    }


def _rank_based(matrix: Matrix, values: Values) -> Values:
    bounds = {f"q{percent:02d}": _quantile(matrix, percent) for percent in (1, 5, 10, 25, 50, 75, 90, 95, 99)}
    return bounds | {"iqr": bounds["q25"] + bounds["q75"], "range": bounds["q01"] + bounds["q99"]}


def _distribution(matrix: Matrix, values: Values) -> Values:
    bounds = {f"q{percent:02d}": _quantile(matrix, percent) for percent in (5, 10, 25, 50, 75, 90, 95)}
    return bounds | {
        "iqr": bounds["q25"] + bounds["q75"],
        "mean_absolute_deviation": _sum(matrix) * values["mean_absolute_deviation"],
        "variation": _variation(matrix, values["variation"]),
        **_moments(matrix, values),
    }


def _spectral(matrix: Matrix, values: Values) -> Values:
    """A singular value is as good as its rounding error against the largest one; so are the ratios to that one."""
    error = FINE * values["sv0"]
    return {
        **{f"sv{i}": error for i in range(10)},
        **{f"share{i}": FINE for i in range(10)},
        **{f"gap{i}": _gap(matrix, values[f"sv{i}"], error) for i in range(9)},
        # -x log x has an unbounded slope at 0: ten shares that are off by 1e-7 each, times log 1e7.
        "entropy": COARSE,
        "condition": _condition(matrix, values["condition"]),
    }


def _gap(matrix: Matrix, singular: float, error: float) -> float:
    """From both singular values; 0 below the threshold of the rank, anything where one is at that threshold."""
    if at_threshold(matrix):
        return 1.0
    below = singular <= max(matrix.shape) * EPS32 * np.linalg.norm(matrix, 2)
    return 0.0 if below else FINE + 2 * error / singular


def _condition(matrix: Matrix, value: float) -> float:
    """Relative 1e-5; up to 1e-3 where float32 carries no more; anything where a singular value is at the threshold."""
    return np.inf if at_threshold(matrix) else value * float(np.clip(EPS32 * value, COARSE, 1e-3))


def at_threshold(matrix: NDArray[np.floating]) -> bool:
    """Whether rounding decides if a singular value counts in gaps and the condition number."""
    singular = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    threshold = max(matrix.shape) * EPS32 * singular[0]
    return bool(singular[0] and np.any(np.abs(singular - threshold) <= 0.5 * EPS32 * singular[0]))


def _matrix_norms(matrix: Matrix, values: Values) -> Values:
    affected = ("frobenius", "nuclear_over_frobenius", "spectral_over_frobenius")
    return {name: _sum(matrix) * values[name] for name in affected}


def _frequency(matrix: Matrix, values: Values) -> Values:
    """Two roundings for each level of the fast transform, against the root mean square of the magnitudes."""
    error = 2 * EPS32 * np.log2(matrix.size) * float(np.linalg.norm(matrix))
    return {name: FINE * value + error for name, value in values.items()} | {"energy_share": FINE}


def _info_theoretic(matrix: Matrix, values: Values) -> Values:
    """Every entry in its bin: what is left is the rounding of the result."""
    return {"entropy": FINE, "normalised": FINE}


def _sum(matrix: Matrix) -> float:
    """The relative error of a float32 sum of terms of one sign, which grows with their number; never above `COARSE`."""
    return min(COARSE, FINE * (1 + matrix.size / 1024))


def _mean(matrix: Matrix) -> float:
    return FINE * float(np.mean(np.abs(matrix)))


def _quantile(matrix: Matrix, percent: int) -> float:
    """Against the two order statistics that it lies between."""
    neighbours = [np.quantile(matrix, percent / 100, method=method) for method in ("lower", "higher")]
    return FINE * float(np.max(np.abs(neighbours)))


def _moments(matrix: Matrix, values: Values) -> Values:
    """Skewness against itself and 1, kurtosis against itself and the 3 taken off; 0 where there is no spread."""
    if np.min(matrix) == np.max(matrix):
        return {"skewness": 0.0, "kurtosis": 0.0}
    error = _sum(matrix)
    return {"skewness": error * (1 + abs(values["skewness"])), "kurtosis": error * (6 + values["kurtosis"])}


def _variation(matrix: Matrix, value: float) -> float:
    """The rounding of the mean in the denominator counts, unless the floor under the mean takes its place."""
    mean, floor, error = abs(np.mean(matrix)), EPS32 * np.max(np.abs(matrix)), EPS32 * np.mean(np.abs(matrix))
    relative = 0.0 if mean + error <= floor else error / mean
    return value * (_sum(matrix) + float(relative))


_SPECIAL: dict[str, Callable[[Matrix, Values], Values]] = {
    "flat_vec": _flat_vec,
    "simple_stats": _simple_stats,
    "stats": _stats,
    "rank_based": _rank_based,
    "spectral": _spectral,
    "matrix_norms": _matrix_norms,
    "distribution": _distribution,
    "frequency": _frequency,
    "info_theoretic": _info_theoretic,
}
