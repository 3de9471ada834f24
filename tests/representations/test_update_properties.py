"""What representations of dW must not see: how the update is split into factors. Shapes, scales and gauges vary."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from numpy.typing import NDArray

from tests.oracles_dw import update
from tests.representations.updates import UPDATES, Factors, Shape, assert_close, expected, factors_of, features_of

every_update = pytest.mark.parametrize("representation", UPDATES)
few = settings(max_examples=15, deadline=None, derandomize=True)
_WIDTHS = st.integers(1, 24)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """(m, r, k), half of them square, ranks up to 6 whatever the sides."""
    m = draw(_WIDTHS)
    return m, draw(st.integers(1, 6)), draw(st.one_of(st.just(m), _WIDTHS))


@st.composite
def updates(draw: st.DrawFn) -> Factors:
    """Ordinary factors whose singular values lie apart, so that components can be told from each other.

    Of each two, one is square: only these have a coupling of their own.
    """
    factors = factors_of("normal", draw(shapes()), draw(st.integers(0, 1000)))
    values = np.linalg.svd(update(*factors), compute_uv=False)[: factors[0].shape[1]]
    assume(np.all(values[:-1] > 1.05 * values[1:]) and values[-1] > 0.01 * values[0])
    return factors


def usable(representation: str, factors: Factors) -> Factors:
    """The factors themselves; leaves out what the representation makes nothing of."""
    assume(representation != "layer_coupling" or factors[0].shape[0] == factors[1].shape[1])
    return factors


def gauge(rng: np.random.Generator, r: int) -> NDArray[np.float64]:
    """Invertible, with a condition number of at most 4."""
    left, right = (np.linalg.qr(rng.normal(size=(r, r)))[0] for _ in range(2))
    return left * rng.uniform(0.5, 2, r) @ right


def regauged(factors: Factors, g: NDArray[np.floating]) -> Factors:
    """(B G, G^-1 A): other factors of the same update."""
    up, down = (np.asarray(one, np.float64) for one in factors)
    return (up @ g).astype(np.float32), np.linalg.solve(g, down).astype(np.float32)


def assert_same(representation: str, one: Factors, other: Factors, factor: float | None = None) -> None:
    found, wanted = (features_of(representation, each, factor) for each in (one, other))
    assert_close(found, wanted, representation, rtol=1e-4, atol=1e-4)


@every_update
@few
@given(factors=updates(), factor=st.floats(0.01, 100), negative=st.booleans())
def test_features_of_any_update_are_those_of_the_definition(
    representation: str, factors: Factors, factor: float, negative: bool
) -> None:
    factors = usable(representation, factors)
    s = float(np.float32(-factor if negative else factor))
    assert_close(features_of(representation, factors, s), expected(representation, factors, s), representation)


@every_update
@few
@given(factors=updates(), seed=st.integers(0, 1000))
def test_another_gauge_has_the_same_features(representation: str, factors: Factors, seed: int) -> None:
    factors = usable(representation, factors)
    g = gauge(np.random.default_rng(seed), factors[0].shape[1])
    assert_same(representation, regauged(factors, g), factors)


@every_update
@few
@given(factors=updates(), signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=6, max_size=6))
def test_signs_of_components_are_not_seen(representation: str, factors: Factors, signs: list[float]) -> None:
    factors = usable(representation, factors)
    assert_same(representation, regauged(factors, np.diag(signs[: factors[0].shape[1]])), factors)


@every_update
@few
@given(factors=updates(), balance=st.integers(-60, 60))
def test_the_balance_of_the_factors_is_not_seen(representation: str, factors: Factors, balance: int) -> None:
    factors = usable(representation, factors)
    up, down = factors
    assert_same(representation, (np.ldexp(up, balance), np.ldexp(down, -balance)), factors)


@every_update
@few
@given(factors=updates(), power=st.integers(-20, 20))
def test_the_scale_and_the_factors_are_one(representation: str, factors: Factors, power: int) -> None:
    factors = usable(representation, factors)
    up, down = factors
    found = features_of(representation, (np.ldexp(up, -power), down), 2.0**power)
    assert_close(found, features_of(representation, factors), representation, rtol=1e-6, atol=1e-6)


@every_update
@few
@given(factors=updates(), zeros=st.integers(1, 3))
def test_ranks_filled_with_zeros_only_add_zeros(representation: str, factors: Factors, zeros: int) -> None:
    factors = usable(representation, factors)
    up, down = factors
    found = features_of(representation, (np.pad(up, ((0, 0), (0, zeros))), np.pad(down, ((0, zeros), (0, 0)))))
    wanted = features_of(representation, factors)
    assert set(wanted) <= set(found)
    assert_close({name: found[name] for name in wanted}, wanted, representation, rtol=1e-6, atol=1e-6)
    added = {name: value for name, value in found.items() if name not in wanted}
    assert all(value == 0 for name, value in added.items() if not name.startswith(("log", "gap")))
    assert all(value in (0, 1) for name, value in added.items() if name.startswith("gap"))
