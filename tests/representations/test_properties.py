"""What must hold for any matrix: finite and bounded features, invariances, homogeneity."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose

import lora_perf
from tests.representations.matrices import REPRESENTATIONS, Entries, features_of, features_of_each, zoo_of
from tests.representations.tolerances import FINE, FLOAT32_MAX, assert_features_close

shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
any_matrix = arrays(np.float32, shapes, elements=st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32))
# Far enough from the ends of float32 that scaling by 2**40 loses no digit.
moderate = st.floats(-1000, 1000, width=32).map(lambda value: 0.0 if abs(value) < 2.0**-20 else value)
moderate_matrix = arrays(np.float32, shapes, elements=moderate)
seeds = st.integers(0, 2**32 - 1)

ENTRYWISE = ("simple_stats", "stats", "rank_based", "distribution", "info_theoretic")
SINGLE = ("simple_stats", "stats", "rank_based", "spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")
# Degree 0: unchanged when the matrix is scaled. All others scale with it.
SCALE_FREE = {
    *(f"share{i}" for i in range(10)),
    *(f"gap{i}" for i in range(9)),
    *("entropy", "normalised", "condition", "skewness", "kurtosis", "variation", "energy_share"),
    *("nuclear_over_frobenius", "spectral_over_frobenius"),
}
# Discontinuous in the entries, or noise where singular values are: compared elsewhere, on matrices that are neither.
FRAGILE = {"condition", *(f"gap{i}" for i in range(9))}

fixed = settings(max_examples=30, deadline=None, derandomize=True, database=None)


Found = dict[str, dict[str, float]]


def assert_same(found: Found, expected: Found, scale: float) -> None:
    """Equal up to rounding: relative, and absolute against 1 for what is scale free, `scale` for what is not."""
    assert list(found) == list(expected)
    for representation, features in found.items():
        assert list(features) == list(expected[representation])
        for name, value in features.items():
            if name not in FRAGILE:
                atol = 1e-5 if name in SCALE_FREE else 1e-6 * scale
                message = f"{representation}/{name}"
                assert_allclose(value, expected[representation][name], rtol=1e-5, atol=atol, err_msg=message)


def norm(matrix: Entries) -> float:
    return float(np.linalg.norm(matrix.astype(np.float64)))


@fixed
@given(any_matrix)
def test_features_of_any_finite_matrix_are_finite(matrix: Entries) -> None:
    for name, features in lora_perf.represent(zoo_of([[matrix]]), list(REPRESENTATIONS)).items():
        assert np.isfinite(features.values.numpy()).all(), name


@fixed
@given(any_matrix)
def test_shares_gaps_entropies_and_ratios_stay_in_their_ranges(matrix: Entries) -> None:
    found = features_of_each(["spectral", "matrix_norms", "frequency", "info_theoretic"], matrix)
    spectral, norms, frequency, information = found.values()
    ranges = [
        *((spectral[f"share{i}"], 0, 1) for i in range(10)),
        *((spectral[f"gap{i}"], 0, 1) for i in range(9)),
        (spectral["entropy"], 0, np.log(min(10, *matrix.shape))),
        (frequency["energy_share"], 0, 1),
        (information["entropy"], 0, np.log(50)),
        (information["normalised"], 0, 1),
        (norms["spectral_over_frobenius"], 0, 1),
        (norms["nuclear_over_frobenius"], 0, np.sqrt(min(matrix.shape))),
    ]
    assert [(value, low, high) for value, low, high in ranges if not low <= value <= high + FINE] == []
    assert spectral["condition"] >= 1 or not matrix.any()
    values = [spectral[f"sv{i}"] for i in range(10)]
    assert values == sorted(values, reverse=True)


@fixed
@given(any_matrix)
def test_order_statistics_are_in_order(matrix: Entries) -> None:
    found = features_of("rank_based", matrix)
    ordered = [found[name] for name in ("q01", "q05", "q10", "q25", "q50", "q75", "q90", "q95", "q99")]
    assert ordered == sorted(ordered)
    assert ordered[0] >= matrix.min()
    assert ordered[-1] <= matrix.max()
    assert found["iqr"] >= 0
    assert found["range"] >= found["iqr"] or np.isclose(found["range"], found["iqr"])


@fixed
@given(moderate_matrix)
def test_features_of_any_moderate_matrix_are_those_of_the_definition(matrix: Entries) -> None:
    names = ["flat_vec", "simple_stats", "stats", "rank_based", "matrix_norms", "distribution", "frequency", "info_theoretic"]
    for representation, found in features_of_each(names, matrix).items():
        assert_features_close(found, representation, matrix)


@fixed
@given(moderate_matrix, seeds)
def test_statistics_do_not_depend_on_the_order_of_the_entries(matrix: Entries, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(matrix.ravel()).reshape(matrix.shape)
    assert_same(features_of_each(ENTRYWISE, shuffled), features_of_each(ENTRYWISE, matrix), norm(matrix))


@fixed
@given(moderate_matrix)
def test_statistics_do_not_depend_on_the_shape(matrix: Entries) -> None:
    assert_same(features_of_each(ENTRYWISE, matrix.reshape(1, -1)), features_of_each(ENTRYWISE, matrix), norm(matrix))


@fixed
@given(moderate_matrix, seeds)
def test_spectra_and_norms_do_not_depend_on_the_order_of_rows_and_columns(matrix: Entries, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = matrix[rng.permutation(matrix.shape[0])][:, rng.permutation(matrix.shape[1])]
    names = ["spectral", "matrix_norms"]
    assert_same(features_of_each(names, shuffled), features_of_each(names, matrix), norm(matrix))


@fixed
@given(moderate_matrix, st.integers(0, 11), st.integers(0, 11))
def test_frequencies_do_not_depend_on_cyclic_shifts(matrix: Entries, down: int, right: int) -> None:
    shifted = np.roll(matrix, (down, right), (0, 1))
    assert_same(features_of_each(["frequency"], shifted), features_of_each(["frequency"], matrix), norm(matrix))


@fixed
@given(moderate_matrix)
def test_transposition_swaps_the_sums_of_columns_and_rows_and_nothing_else(matrix: Entries) -> None:
    expected = features_of_each(SINGLE, matrix)
    norms = expected["matrix_norms"]
    norms["max_column_sum"], norms["max_row_sum"] = norms["max_row_sum"], norms["max_column_sum"]
    assert_same(features_of_each(SINGLE, matrix.T), expected, norm(matrix))


@fixed
@given(moderate_matrix, st.integers(-40, 40))
def test_scaling_scales_or_keeps_each_feature(matrix: Entries, exponent: int) -> None:
    factor = 2.0**exponent
    expected = {
        representation: {name: value * (1 if name in SCALE_FREE else factor) for name, value in features.items()}
        for representation, features in features_of_each(SINGLE, matrix).items()
    }
    assert_same(features_of_each(SINGLE, matrix * np.float32(factor)), expected, factor * norm(matrix))


@fixed
@given(moderate_matrix)
def test_negation_mirrors_the_statistics(matrix: Entries) -> None:
    mirror = {"min": "max", "max": "min", "q01": "q99", "q05": "q95", "q10": "q90", "q25": "q75", "q50": "q50"}
    mirror |= {there: here for here, there in mirror.items()}
    odd = {"mean", "median", "skewness", *mirror}
    names = ["simple_stats", "stats", "rank_based", "distribution"]
    expected = {
        representation: {name: features[mirror.get(name, name)] * (-1 if name in odd else 1) for name in features}
        for representation, features in features_of_each(names, matrix).items()
    }
    assert_same(features_of_each(names, -matrix), expected, norm(matrix))


@fixed
@given(st.integers(1, 12), st.integers(1, 12), seeds, st.integers(-40, 40))
def test_condition_and_gaps_of_matrices_of_full_rank_keep_under_scaling_and_transposition(
    rows: int, columns: int, seed: int, exponent: int
) -> None:
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(rng.normal(size=(rows, columns)), full_matrices=False)
    matrix = (left @ np.diag(rng.uniform(0.1, 1.0, min(rows, columns))) @ right).astype(np.float32)
    original = features_of("spectral", matrix)
    for other in (matrix.T, matrix * np.float32(2.0**exponent), matrix[::-1]):
        found = features_of("spectral", other)
        assert_allclose([found[name] for name in FRAGILE], [original[name] for name in FRAGILE], rtol=1e-5, atol=1e-5)
