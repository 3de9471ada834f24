"""What a whole table tells: corrections, equivalence, power and ranks by their definitions, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lora_perf.classifiers.metrics import PairedDifference, paired_difference
from lora_perf.report.comparisons import detectable, holm, within


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_step_down_of_its_definition(ps: list[float]) -> None:
    found = holm(ps)
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    for place, at in enumerate(order):
        expected = max(min(1.0, (len(ps) - k) * ps[order[k]]) for k in range(place + 1))
        assert found[at] == pytest.approx(expected)


def test_among_tables_without_a_difference_one_in_twenty_finds_any() -> None:
    """400 tables of eight pairs of equal accuracies on 200 adapters: 20 are expected to be wrong, 33 or more once in 500."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        ps = [paired_difference(rng.random((1, 200)) < 0.6, rng.random((1, 200)) < 0.6).p for _ in range(8)]
        wrong += min(holm(ps)) < 0.05
    assert wrong <= 33


@pytest.mark.parametrize("effect", [0.0, 0.01, 0.05, 0.2])
def test_the_probability_of_practical_equivalence_is_that_of_the_t_distribution(effect: float) -> None:
    one = PairedDifference(effect, effect - 0.02, effect + 0.02, 0.01, 30.0, 0.5)
    draws = effect + 0.01 * np.random.default_rng(1).standard_t(30, 400_000)
    assert within(one) == pytest.approx(float((np.abs(draws) < 0.01).mean()), abs=0.004)
    assert within(PairedDifference(effect, effect, effect, 0.0, 30.0, 1.0)) == float(effect < 0.01)


def test_a_difference_of_the_detectable_size_is_found_in_four_of_five() -> None:
    rng = np.random.default_rng(2)
    pairs = [(rng.random((1, 400)) < 0.5, rng.random((1, 400)) < 0.5) for _ in range(50)]
    size = detectable([paired_difference(*pair) for pair in pairs])
    assert size is not None
    better, worse = (rng.random((1000, 1, 400)) < 0.5 + side * size / 2 for side in (1, -1))
    found = [paired_difference(*pair).p < 0.05 for pair in zip(better, worse, strict=True)]
    assert 0.75 < np.mean(found) < 0.86
    assert detectable([PairedDifference(0, 0, 0, 0.0, 5, 1.0)]) is None


def test_more_tests_ask_for_larger_differences() -> None:
    one = PairedDifference(0.1, 0.0, 0.2, 0.05, 199.0, 0.05)
    assert detectable([one], 45) == pytest.approx((stats.t.isf(0.05 / 90, 199) + stats.t.ppf(0.8, 199)) * 0.05)
    assert (detectable([one], 45) or 0) > (detectable([one]) or 0)
