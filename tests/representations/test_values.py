"""The value of every feature, against the float64 oracles, for every kind of matrix and every shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from torch.testing import assert_close

import lora_perf
from tests.oracles import ORACLES, oracle
from tests.representations.columns import assert_adapter_close
from tests.representations.matrices import (
    KINDS,
    REPRESENTATIONS,
    SHAPES,
    Shape,
    features_of,
    features_of_all_kinds,
    features_of_each,
    matrix_of,
    zoo_of,
)
from tests.representations.tolerances import assert_features_close

# Real widths, where sums are long.
WIDE: tuple[Shape, ...] = ((1, 1280), (4, 1280), (1280, 16))

every_representation = pytest.mark.parametrize("representation", REPRESENTATIONS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_representation
@every_kind
def test_features_of_every_shape_are_those_of_the_definition(representation: str, kind: str) -> None:
    check_shapes(representation, kind, SHAPES)


@pytest.mark.parametrize("representation", [name for name in ORACLES if name != "flat_vec"])
@every_kind
def test_features_of_wide_matrices_are_those_of_the_definition(representation: str, kind: str) -> None:
    check_shapes(representation, kind, WIDE)


def check_shapes(representation: str, kind: str, shapes: Sequence[Shape]) -> None:
    """The adapter of one kind, in a zoo of all kinds, for every shape; all that is wrong in one message."""
    wrong = []
    for shape in shapes:
        try:
            features = features_of_all_kinds(shape)[representation]
            assert_adapter_close(features, list(KINDS).index(kind), representation, [matrix_of(kind, shape)])
        except AssertionError as error:
            wrong.append(str(error))
    assert "\n".join(wrong) == ""


@every_representation
@pytest.mark.parametrize(
    "shapes",
    [[(4, 37)] * 3, [(4, 37), (29, 4), (2, 3), (4, 37), (1, 5), (29, 4), (3, 2)], [(16, 40), (40, 16), (1, 1)]],
    ids=["same", "mixed", "ranks"],
)
def test_layers_keep_their_features_apart(representation: str, shapes: list[Shape]) -> None:
    rng = np.random.default_rng(len(shapes))
    adapters = [[rng.normal(i, 2.0**j, shape).astype(np.float32) for i, shape in enumerate(shapes)] for j in range(5)]
    adapters[3] = [np.zeros(shape, np.float32) for shape in shapes]
    features = lora_perf.represent(zoo_of(adapters), [representation])[representation]
    assert features.values.dtype == torch.float32
    for row, matrices in enumerate(adapters):
        assert_adapter_close(features, row, representation, matrices)


@pytest.mark.parametrize("steps", [57, 73, 111, 390, 1234])
def test_entries_on_edges_of_bins_fall_where_numpy_puts_them(steps: int) -> None:
    """No edge but the ends is a float64; which side a tie falls on is a matter of rounding, and NumPy's is the definition."""
    matrix = np.random.default_rng(steps).integers(-steps, steps, (16, 60), endpoint=True).astype(np.float32) / 3
    assert_features_close(features_of("info_theoretic", matrix), "info_theoretic", matrix)


@every_shape
@pytest.mark.parametrize("value", [0.1, -0.75, 1e-30, 1e30, 3.0], ids=str)
def test_equal_entries_have_exactly_no_spread(shape: Shape, value: float) -> None:
    """Noise here would be blown up to unit variance when features are standardised."""
    matrix = np.full(shape, value, np.float32)
    found = features_of("stats", matrix) | features_of("distribution", matrix) | features_of("info_theoretic", matrix)
    spread = ["std", "skewness", "kurtosis", "iqr", "mean_absolute_deviation", "variation", "entropy", "normalised"]
    assert {name: found[name] for name in spread} == dict.fromkeys(spread, 0.0)


@pytest.mark.parametrize("shape", [(1, 320), (320, 1)], ids=str)
def test_the_spectrum_of_a_vector_is_its_norm_and_constants(shape: Shape) -> None:
    matrix = matrix_of("normal", shape)
    found = features_of("spectral", matrix)
    norm = features_of("simple_stats", matrix)["frobenius"]
    expected = dict.fromkeys(found, 0.0) | {"sv0": norm, "share0": 1.0, "gap0": 1.0, "condition": 1.0, "nuclear": norm}
    constants = [name for name in found if name not in ("sv0", "nuclear")]
    assert {name: found[name] for name in constants} == {name: expected[name] for name in constants}
    assert_close([found["sv0"], found["nuclear"]], [norm, norm], rtol=3e-7, atol=0)


@pytest.mark.parametrize("shape", [(1, 320), (320, 1)], ids=str)
@every_kind
def test_the_ratios_of_the_norms_of_a_vector_are_exactly_one(shape: Shape, kind: str) -> None:
    """A column that is constant up to rounding would be blown up to unit variance when features are standardised."""
    matrix = matrix_of(kind, shape)
    found = features_of("matrix_norms", matrix)
    assert found["nuclear_over_frobenius"] == found["spectral_over_frobenius"] == float(matrix.any())


@pytest.mark.parametrize("entries", ["constant", "integers"])
def test_sums_over_large_matrices_keep_their_digits(entries: str) -> None:
    shape = (128, 2048)
    matrix = np.full(shape, 0.1, np.float32) if entries == "constant" else np.random.default_rng(0).integers(0, 9, shape)
    names = ("simple_stats", "stats", "matrix_norms")
    features = lora_perf.represent(zoo_of([[matrix.astype(np.float32)]]), names)
    for name in names:
        expected = np.array(list(oracle(name, matrix.astype(np.float32).astype(np.float64)).values()))
        np.testing.assert_allclose(features[name].values[0].numpy(), expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("shape", [(4, 37), (29, 4), (5, 5)], ids=str)
def test_the_definitions_are_those_of_other_libraries(shape: Shape) -> None:
    matrix = np.random.default_rng(shape).normal(0.3, 1.0, shape).astype(np.float32)
    found = features_of_each(["stats", "rank_based", "spectral", "matrix_norms", "distribution"], matrix)
    x = matrix.astype(np.float64)
    singular = np.linalg.svd(x, compute_uv=False)
    norms = {"nuclear": "nuc", "spectral": 2, "max_column_sum": 1, "max_row_sum": np.inf}
    expected = {
        "stats": {"skewness": scipy.stats.skew(x, axis=None), "kurtosis": scipy.stats.kurtosis(x, axis=None)},
        "rank_based": {"iqr": scipy.stats.iqr(x), "range": scipy.stats.iqr(x, rng=(1, 99)), "q50": np.median(x)},
        "spectral": {"condition": np.linalg.cond(x), "entropy": scipy.stats.entropy(singular[:10])},
        "matrix_norms": {name: np.linalg.norm(x, order) for name, order in norms.items()},
        "distribution": {"variation": abs(scipy.stats.variation(x, axis=None))},
    }
    for name, wanted in expected.items():
        assert {key: found[name][key] for key in wanted} == pytest.approx(wanted, rel=1e-4), name
