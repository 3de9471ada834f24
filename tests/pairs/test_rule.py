"""The rule of the guard: its interval, when it stops, and what it makes of unchanged and of slower code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lora_perf.pairs.rule import CONFIDENCE, Interval, Outcome, Rule

_PAIR_SECONDS = 0.05


class Simulated:
    """Paired ratios of two processes that differ steadily, with noise on each pair, and a clock that goes with them."""

    def __init__(
        self, slowdown: float, seed: int, steady: float = 0.02, noise: float = 0.06, pair_seconds: float = _PAIR_SECONDS
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._slowdown, self._steady, self._noise = slowdown, steady, noise
        self._pair_seconds = pair_seconds
        self.seconds = 0.0
        self.pairs = 0

    def measure(self, rule: Rule, again: bool = False) -> Outcome:
        """By fresh workers: the steady difference is drawn anew."""
        centre = self._slowdown * np.exp(self._steady * self._rng.standard_normal())

        def ratio() -> float:
            self.seconds += self._pair_seconds
            self.pairs += 1
            return float(centre * np.exp(self._noise * self._rng.standard_t(3)))  # heavy tails

        return rule.measure(ratio, again=again, clock=lambda: self.seconds)

    def slower(self, rule: Rule) -> bool:
        """What the whole rule says."""
        outcomes = [self.measure(rule)]
        while (decided := rule.slower(outcomes)) is None:
            outcomes.append(self.measure(rule, again=True))
        return decided


def constant(*ratios: float) -> Callable[[], float]:
    values: Iterator[float] = iter(ratios)
    return lambda: next(values)


# The interval


@pytest.mark.parametrize("n", [1, 2, 5, 7, 8, 20, 33, 400, 3000])
def test_the_interval_is_the_narrowest_that_the_binomial_distribution_allows(n: int) -> None:
    found = Interval.of([float(i) for i in range(1, n + 1)])
    k = int(found.low)
    assert found.high == n + 1 - k
    assert found.confidence == pytest.approx(1 - 2 * stats.binom.cdf(k - 1, n, 0.5), abs=1e-12)
    assert found.confidence >= CONFIDENCE or k == 1
    assert 1 - 2 * stats.binom.cdf(k, n, 0.5) < CONFIDENCE


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=60))
def test_the_interval_encloses_the_median_and_ends_at_ratios_that_were_found(ratios: list[float]) -> None:
    found = Interval.of(ratios)
    assert found.low <= found.median <= found.high
    assert {found.low, found.high} <= set(ratios)
    assert found.median == pytest.approx(np.median(ratios))
    assert found.pairs == len(ratios)


def test_the_interval_encloses_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [Interval.of(list(rng.lognormal(sigma=0.5, size=21))) for _ in range(2000)]
    share = np.mean([one.low <= 1 <= one.high for one in intervals])
    confidence = intervals[0].confidence
    assert abs(share - confidence) < 4 * np.sqrt(confidence * (1 - confidence) / len(intervals))


# One measurement


def test_unchanged_code_is_cleared_at_the_first_look() -> None:
    simulated = Simulated(1.0, seed=0, steady=0, noise=0.01)
    assert simulated.measure(Rule()).interval.pairs == pytest.approx(Rule().looks[0] / _PAIR_SECONDS, abs=1)


def test_twice_the_time_is_seen_at_the_first_look() -> None:
    outcome = Simulated(2.0, seed=0).measure(Rule())
    assert outcome.seconds == pytest.approx(Rule().looks[0], abs=2 * _PAIR_SECONDS)
    assert outcome.interval.low > Rule().threshold


def test_what_lies_near_the_threshold_is_measured_to_the_end() -> None:
    outcome = Simulated(1.07, seed=0, steady=0, noise=0.1).measure(Rule())
    assert outcome.seconds == pytest.approx(Rule().looks[-1], abs=2 * _PAIR_SECONDS)


def test_a_slow_call_has_its_least_number_of_pairs() -> None:
    clock = iter(range(0, 10_000, 100))
    outcome = Rule(least=3).measure(constant(1.0, 1.1, 1.0), clock=lambda: float(next(clock)))
    assert outcome.interval.pairs == 3


@pytest.mark.parametrize(
    ("ratios", "again", "pairs"),
    [((1.0, 1.04, 1.02), False, 3), ((1.0, 1.06, 1.02, 1, 1), False, 5), ((1, 1, 1, 1, 1), True, 5)],
)
def test_few_pairs_clear_a_very_slow_call_but_no_suspect(ratios: tuple[float, ...], again: bool, pairs: int) -> None:
    clock = iter(range(0, 10_000, 100))
    outcome = Rule().measure(constant(*ratios), again=again, clock=lambda: float(next(clock)))
    assert outcome.interval.pairs == pairs


def test_a_suspect_is_measured_longer() -> None:
    rule = Rule()
    first, again = (Simulated(1.07, seed=0, steady=0, noise=0.1).measure(rule, again=again) for again in (False, True))
    assert again.seconds == pytest.approx(rule.longer * first.seconds, abs=2 * _PAIR_SECONDS)


@pytest.mark.parametrize(
    ("slowdown", "settings", "runs", "least", "most"),
    [
        (1.0, {}, 600, 0, 0),
        (1.0, {"steady": 0.04}, 600, 0, 0.01),  # processes that differ by four per cent
        (1.0, {"noise": 0.15, "few": True}, 600, 0, 0.005),
        (1.0, {"noise": 0.3, "few": True}, 600, 0, 0.005),
        (1.0, {"noise": 0.03, "pair_seconds": 6}, 400, 0, 0),
        (1.15, {}, 300, 0.98, 1),
        (1.3, {}, 300, 1, 1),
        (1.15, {"noise": 0.03, "pair_seconds": 6}, 400, 0.95, 1),
        (1.3, {"noise": 0.03, "pair_seconds": 6}, 400, 0.99, 1),
    ],
)
def test_unchanged_code_is_kept_and_slower_code_is_found(
    slowdown: float, settings: dict[str, float], runs: int, least: float, most: float
) -> None:
    settings = dict(settings)
    rule = Rule(looks=(0.05, 0.1, 0.2, 0.4)) if settings.pop("few", False) else Rule()  # eight pairs at most
    found = [Simulated(slowdown, seed, **settings).slower(rule) for seed in range(runs)]
    assert least <= np.mean(found) <= most


@pytest.mark.parametrize(("again", "renewed"), [(False, 0), (True, 15)])
def test_the_data_of_a_suspect_are_prepared_anew_outside_the_clock(again: bool, renewed: int) -> None:
    seconds = [0.0]
    ratios = cycle([1.0, 1.15])  # no look decides

    def ratio() -> float:
        seconds[0] += 0.1
        return next(ratios)

    prepared = []

    def renew() -> None:
        prepared.append(seconds[0])
        seconds[0] += 100.0

    outcome = Rule().measure(ratio, renew, again=again, clock=lambda: seconds[0])
    assert outcome.seconds == pytest.approx(8.0 if again else 4.0, abs=0.2)
    assert len(prepared) == pytest.approx(renewed, abs=3)  # clocks add up tenths of a second with rounding


def test_seconds_move_all_looks() -> None:
    assert Rule().within(2.0).looks == (0.25, 0.5, 1.0, 2.0)


# The whole rule


def outcome(median: float) -> Outcome:
    return Outcome(Interval(median, median, median, 0.98, 9), 1.0)


@pytest.mark.parametrize("medians", list(product((1.0, 1.06, 1.2), repeat=3)))
def test_two_of_three_measurements_decide_what_the_first_made_suspect(medians: tuple[float, ...]) -> None:
    rule = Rule(suspicion=1.05, threshold=1.08)
    decisions = [rule.slower([outcome(median) for median in medians[:i]]) for i in (1, 2, 3)]
    decided = next(one for one in decisions if one is not None)
    assert decided == (medians[0] > 1.05 and sum(median > 1.08 for median in medians) >= 2)


def test_pairs_that_scatter_around_one_are_no_vote() -> None:
    scattered = Outcome(Interval(1.2, 0.9, 1.6, 0.98, 7), 4.0)
    assert Rule().slower([scattered, outcome(1.2)]) is None
    assert Rule().slower([scattered, outcome(1.2), outcome(1.2)]) is True
    assert Rule().slower([scattered, scattered]) is False
