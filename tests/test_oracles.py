"""The oracles against other libraries, other formulas and results known by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.testing import assert_allclose

from tests.oracles import BINS, ENSEMBLE, EPS32, ORACLES, Matrix, oracle

SHAPES = [(1, 1), (1, 7), (7, 1), (2, 3), (5, 5), (4, 37), (29, 4), (16, 40)]
COUNTS = {
    "simple_stats": 5,
    "stats": 7,
    "rank_based": 11,
    "spectral": 32,
    "matrix_norms": 7,
    "distribution": 12,
    "frequency": 14,
    "info_theoretic": 2,
}


def normal(shape: tuple[int, int]) -> Matrix:
    return np.random.default_rng(shape).normal(0.3, 1.0, shape)


@pytest.fixture(params=SHAPES, ids=str)
def matrix(request: pytest.FixtureRequest) -> Matrix:
    return normal(request.param)


def test_each_representation_has_as_many_features_as_the_original() -> None:
    assert {name: len(oracle(name, normal((3, 4)))) for name in COUNTS} == COUNTS
    assert sum(COUNTS[name] for name in ENSEMBLE) == 67
    assert set(ORACLES) == {*COUNTS, "flat_vec"}


def test_moments_are_those_of_scipy(matrix: Matrix) -> None:
    values = oracle("stats", matrix)
    if matrix.size > 1:
        assert_allclose(values["skewness"], scipy.stats.skew(matrix, axis=None), rtol=1e-12, atol=1e-12)
        assert_allclose(values["kurtosis"], scipy.stats.kurtosis(matrix, axis=None), rtol=1e-12, atol=1e-12)
    assert_allclose(values["std"], torch.from_numpy(matrix).std(correction=0), rtol=1e-12)
    assert_allclose(values["mean"], torch.from_numpy(matrix).mean(), rtol=1e-12)
    assert (values["min"], values["max"]) == (matrix.min(), matrix.max())


def test_quantiles_interpolate_between_sorted_entries(matrix: Matrix) -> None:
    ordered = np.sort(matrix.ravel())
    values = oracle("rank_based", matrix)
    for percent in (1, 5, 10, 25, 50, 75, 90, 95, 99):
        place = Fraction(percent, 100) * (matrix.size - 1)
        low = int(place)
        weight = float(place - low)
        high = min(low + 1, matrix.size - 1)
        assert_allclose(values[f"q{percent:02d}"], ordered[low] + weight * (ordered[high] - ordered[low]), rtol=1e-12)
    assert_allclose(values["iqr"], scipy.stats.iqr(matrix), rtol=1e-12)
    assert_allclose(values["range"], scipy.stats.iqr(matrix, rng=(1, 99)), rtol=1e-12)


def test_quantiles_of_the_distribution_are_those_of_rank_based(matrix: Matrix) -> None:
    ranks, values = oracle("rank_based", matrix), oracle("distribution", matrix)
    shared = ["q05", "q10", "q25", "q50", "q75", "q90", "q95", "iqr"]
    assert [values[name] for name in shared] == [ranks[name] for name in shared]


def test_deviations_of_the_distribution_are_those_of_other_formulas(matrix: Matrix) -> None:
    values = oracle("distribution", matrix)
    mean = matrix.sum() / matrix.size
    assert_allclose(values["mean_absolute_deviation"], 2 * np.maximum(matrix - mean, 0).mean(), rtol=1e-12, atol=1e-15)
    assert_allclose(values["variation"], abs(scipy.stats.variation(matrix, axis=None)), rtol=1e-12)


def test_variation_has_a_floor_under_the_mean() -> None:
    assert_allclose(oracle("distribution", np.array([[-4.0, 4.0]]))["variation"], 1 / EPS32)


def test_singular_values_are_roots_of_the_gram_eigenvalues(matrix: Matrix) -> None:
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    roots = np.sqrt(np.linalg.eigvalsh(gram)[::-1])
    values = oracle("spectral", matrix)
    found = [values[f"sv{i}"] for i in range(10)]
    expected = np.zeros(10)
    expected[: len(roots)] = roots[:10]
    assert_allclose(found, expected, rtol=1e-10)
    assert_allclose(values["nuclear"], roots.sum(), rtol=1e-12)
    assert_allclose(values["condition"], np.linalg.cond(matrix), rtol=1e-9)
    assert_allclose(values["entropy"], scipy.stats.entropy(expected), rtol=1e-12, atol=1e-15)
    assert_allclose([values[f"share{i}"] for i in range(10)], expected / expected.sum(), rtol=1e-10)


def test_spectral_features_of_a_diagonal_are_known() -> None:
    values = oracle("spectral", np.diag([8.0, -4.0, 2.0, 0.0]))
    assert [values[f"sv{i}"] for i in range(10)] == [8, 4, 2, 0, 0, 0, 0, 0, 0, 0]
    assert_allclose([values[f"gap{i}"] for i in range(9)], [0.5, 0.5, 1, 0, 0, 0, 0, 0, 0])
    assert_allclose([values["condition"], values["nuclear"]], [4, 14])
    assert_allclose(values["entropy"], np.log(14) - (8 * np.log(8) + 4 * np.log(4) + 2 * np.log(2)) / 14)


def test_more_than_ten_singular_values_count_in_nuclear_and_condition_only() -> None:
    values = oracle("spectral", np.diag(np.arange(12.0, 0.0, -1.0)))
    assert_allclose([values["sv9"], values["nuclear"], values["condition"]], [3, 78, 12])
    assert_allclose(sum(values[f"share{i}"] for i in range(10)), 1)


def test_norms_are_those_of_numpy(matrix: Matrix) -> None:
    frobenius, nuclear, two, one, infinity = (np.linalg.norm(matrix, order) for order in ("fro", "nuc", 2, 1, np.inf))
    expected = [frobenius, nuclear, two, one, infinity, nuclear / frobenius, two / frobenius]
    assert_allclose(list(oracle("matrix_norms", matrix).values()), expected, rtol=1e-12)
    assert_allclose(oracle("simple_stats", matrix)["frobenius"], frobenius, rtol=1e-12)


def test_magnitudes_are_those_of_the_written_out_transform(matrix: Matrix) -> None:
    left, right = (np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size) for size in matrix.shape)
    magnitudes = np.sort(np.abs(left @ matrix @ right).ravel())[::-1]
    expected = np.zeros(10)
    expected[: len(magnitudes[:10])] = magnitudes[:10]
    values = oracle("frequency", matrix)
    assert_allclose([values[f"top{i}"] for i in range(10)], expected, rtol=1e-9)
    assert_allclose(
        [values["mean"], values["std"], values["max"]], [magnitudes.mean(), magnitudes.std(), expected[0]], rtol=1e-9
    )
    # Parseval: the energy of the transform is that of the entries times their number.
    assert_allclose(values["energy_share"], (expected**2).sum() / (matrix.size * (matrix**2).sum()), rtol=1e-9)


@pytest.mark.parametrize("steps", [6, 49, 50, 100, 125, 500])
def test_entropy_is_that_of_bins_in_exact_fractions(steps: int) -> None:
    lattice = np.random.default_rng(steps).integers(0, steps, (16, 40), endpoint=True) * 0.25
    lattice[0, :2] = 0, steps * 0.25  # a range whose bin edges float64 holds well enough: entries on an edge stay right of it
    values = oracle("info_theoretic", lattice)
    assert_allclose(values["entropy"], exact_entropy(lattice), rtol=1e-12, atol=1e-15)
    assert_allclose(values["normalised"], values["entropy"] / np.log(50), rtol=1e-12)


def test_entropy_of_values_spread_evenly_is_the_logarithm_of_their_number() -> None:
    assert_allclose(list(oracle("info_theoretic", np.arange(100.0).reshape(4, 25)).values()), [np.log(50), 1])


def test_flat_vec_is_the_row_major_order() -> None:
    assert oracle("flat_vec", np.array([[1.0, 2.0], [3.0, 4.0]])) == {"0": 1, "1": 2, "2": 3, "3": 4}


@pytest.mark.parametrize("representation", ORACLES)
def test_zeros_have_zero_features(representation: str) -> None:
    assert set(oracle(representation, np.zeros((3, 4))).values()) == {0.0}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_entries_have_no_spread(shape: tuple[int, int]) -> None:
    matrix = np.full(shape, np.float32(0.1), np.float64)
    names = ("std", "skewness", "kurtosis", "iqr", "mean_absolute_deviation", "variation")
    values = oracle("stats", matrix) | oracle("distribution", matrix) | oracle("info_theoretic", matrix)
    assert [values[name] for name in (*names, "entropy", "normalised")] == [0.0] * 8


def exact_entropy(matrix: Matrix) -> float:
    entries = [Fraction(float(entry)) for entry in matrix.ravel()]
    low, high = min(entries), max(entries)
    if low == high:
        return 0.0
    bins = [min(int((entry - low) * BINS / (high - low)), BINS - 1) for entry in entries]
    return float(scipy.stats.entropy(np.bincount(bins)))
