"""Spreads, calls in turn, and peaks of memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import measure
from benchmarks.measure import Spread, digits

NUMBERS = st.floats(1e-6, 1e6)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_a_spread_has_the_quartiles_of_numpy(values: list[float]) -> None:
    found = Spread.of(values)
    np.testing.assert_allclose([found.low, found.median, found.high], np.quantile(values, (0.25, 0.5, 0.75)), rtol=1e-12)
    assert found.rounds == len(values)


@given(NUMBERS)
def test_digits_keep_three_digits_of_a_number_and_no_exponent(value: float) -> None:
    text = digits(value)
    assert "e" not in text
    np.testing.assert_allclose(float(text.replace(",", "")), value, rtol=0.0051)


@pytest.mark.parametrize(
    ("value", "text"), [(0.001283, "0.00128"), (1.3, "1.30"), (999.6, "1,000"), (1064.0, "1,060"), (0.0, "0"), (41.84, "41.8")]
)
def test_digits_read_as_they_are_written_by_hand(value: float, text: str) -> None:
    assert digits(value) == text


def test_the_text_of_a_spread_names_quartiles_and_rounds_where_there_are_several() -> None:
    assert Spread.of([2.0, 4.0, 6.0]).text() == "4.00 (3.00 to 5.00, 3 rounds)"
    assert Spread.of([2.0]).text() == "2.00"


def test_calls_take_turns_forwards_and_backwards_after_one_round_that_does_not_count() -> None:
    seen: list[str] = []
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    times = measure.in_turn(calls, rounds=2, before=lambda: seen.append("."))
    assert "".join(seen) == ".b.a" + ".a.b" + ".b.a"
    assert [len(times[name]) for name in calls] == [2, 2]


def test_no_garbage_is_collected_inside_the_clock_and_the_collector_comes_back_after_an_error() -> None:
    enabled: list[bool] = []

    def fail() -> None:
        enabled.append(gc.isenabled())
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it carries no message
        measure.in_turn({"fail": fail}, rounds=1)
    assert enabled == [False]
    assert gc.isenabled()


def test_ratios_are_of_pairs() -> None:
    found = measure.ratios({"slow": [10.0, 90.0, 40.0], "fast": [1.0, 3.0, 2.0]}, "slow", "fast")
    assert (found.low, found.median, found.high) == (15.0, 20.0, 25.0)


def test_the_peak_of_a_process_of_its_own_is_about_what_the_rows_take() -> None:
    nbytes = 64 * 99_648 * 4
    assert 0.9 * nbytes < measure.peak_nbytes("load_nested", "small") < 2 * nbytes
