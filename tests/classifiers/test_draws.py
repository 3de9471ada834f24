"""Several draws of a representation in intervals and tests: loops in float64, and how often they are right."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import covered_draws, found_draws
from lora_perf.classifiers.crossed import apart, of_clusters, of_draws
from lora_perf.classifiers.metrics import Answers, accuracy, accuracy_of, difference_of, paired_difference
from lora_perf.classifiers.scores import jackknifed


def answers(rows: int, n: int, seed: int, mean: float = 0.7) -> np.ndarray:
    return (np.random.default_rng(seed).random((rows, n)) < mean).astype(float)


def test_draws_are_the_sample_and_runs_a_part_of_each() -> None:
    cells = answers(6, 40, 0)
    means = np.stack([cells[0:2].mean(axis=0), cells[2:4].mean(axis=0), cells[4:6].mean(axis=0)])
    np.testing.assert_array_equal(of_draws(cells, 3), means)
    found = accuracy_of([Answers(cells, None, 1, 3)])
    s, n = means.shape
    grand = means.mean()
    ms_draw = n * sum((means[k].mean() - grand) ** 2 for k in range(s)) / (s - 1)
    ms_adapter = s * sum((means[:, i].mean() - grand) ** 2 for i in range(n)) / (n - 1)
    rest = [(means[k, i] - means[k].mean() - means[:, i].mean() + grand) ** 2 for k in range(s) for i in range(n)]
    ms_e = sum(rest) / ((s - 1) * (n - 1))
    total = ms_draw + ms_adapter - ms_e if min(ms_draw, ms_adapter) >= ms_e else max(ms_draw, ms_adapter, ms_e)
    assert (found.mean, found.se) == (pytest.approx(grand), pytest.approx(sqrt(total / (s * n))))
    assert 0 <= found.low < found.mean < found.high <= 1


def test_one_draw_is_what_it_was() -> None:
    cells, other = answers(4, 30, 1), answers(4, 30, 2)
    assert accuracy(cells, draws=1) == accuracy(cells)
    one, two = Answers(cells, None, 1), Answers(other, None, 1)
    assert difference_of([one], [two]) == paired_difference(cells, other)


def test_as_many_draws_on_both_sides_are_paired() -> None:
    first, second = answers(6, 50, 3), answers(6, 50, 4, 0.5)
    found = difference_of([Answers(first, None, 1, 3)], [Answers(second, None, 1, 3)])
    assert found == paired_difference(of_draws(first, 3), of_draws(second, 3))


@pytest.mark.parametrize("runs", [1, 4])
def test_draws_beside_what_is_not_drawn_add_the_variance_of_both(runs: int) -> None:
    drawn = answers(5, 60, 5) * (np.arange(5)[:, None] > 0) + (np.arange(5)[:, None] == 0)  # the first draw is always right
    plain = answers(runs, 60, 6, 0.5)
    columns = [drawn[:, i].mean() - plain[:, i].mean() for i in range(60)]
    variance = float(np.var(columns, ddof=1)) / 60

    def of_rows(cells: np.ndarray) -> float:
        """Variance of rows beyond what their adapters leave them, over their number."""
        s, n = cells.shape
        rest = [(cells[k, i] - cells[k].mean() - cells[:, i].mean() + cells.mean()) ** 2 for k in range(s) for i in range(n)]
        return max(0.0, float(np.var([row.mean() for row in cells], ddof=1)) - sum(rest) / ((s - 1) * (n - 1)) / n) / s

    variance += of_rows(drawn) + (of_rows(plain) if runs > 1 else 0.0)
    found = difference_of([Answers(drawn, None, 1, 5)], [Answers(plain, None, 1)])
    assert (found.mean, found.se) == (pytest.approx(np.mean(columns)), pytest.approx(sqrt(variance)))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / found.se, found.df))
    assert difference_of([Answers(plain, None, 1)], [Answers(drawn, None, 1, 5)]).mean == pytest.approx(-found.mean)


def test_clusters_stay_whole_beside_what_is_not_drawn() -> None:
    drawn, plain, of = answers(5, 60, 7), answers(1, 60, 8), np.arange(60) // 6
    found = difference_of([Answers(drawn, of, 1, 5)], [Answers(plain, of, 1)])
    mean, se, _ = apart(of_clusters(drawn, of), of_clusters(plain, of))
    assert (found.mean, found.se) == (pytest.approx(mean), pytest.approx(se))
    assert found.mean == pytest.approx(drawn.mean() - plain.mean())


def test_further_measures_know_the_variance_of_draws() -> None:
    rng = np.random.default_rng(9)
    truth = rng.normal(size=80)
    runs = np.concatenate([truth + shift + 0.01 * rng.normal(size=(3, 80)) for shift in (0.0, 0.5, 1.0)])
    blind, seeing = (jackknifed("numbers", runs, truth, (), draws=draws)["mae"] for draws in (1, 3))
    maes = [float(np.abs(one - truth).mean()) for one in runs]
    of_draws = np.var([np.mean(maes[k : k + 3]) for k in (0, 3, 6)], ddof=1) / 3
    of_runs = np.var(maes, ddof=1) / 9
    assert seeing.mean == pytest.approx(blind.mean)
    assert seeing.se**2 - blind.se**2 == pytest.approx(of_draws - of_runs)


@pytest.mark.parametrize(("draws", "runs", "mean"), [(5, 1, 0.5), (5, 3, 0.9), (10, 1, 0.97)])
def test_intervals_cover_the_truth_where_draws_vary(draws: int, runs: int, mean: float) -> None:
    """95 % is expected of 1,000 tables; between 93 and 97 % with three standard errors of this share to spare on no side."""
    share = covered_draws(200, draws, runs, mean, 1000, np.random.default_rng(3))
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("both", [True, False])
def test_draws_that_are_alike_differ_one_time_in_twenty(both: bool) -> None:
    assert 0.02 <= found_draws(200, 5, 1, 0.5, 1000, np.random.default_rng(4), both=both) <= 0.07


def test_a_single_draw_would_not_cover_it() -> None:
    """The interval of one draw, asked for new draws: what several are for."""
    from benchmarks.coverage import drawn

    rng, hits = np.random.default_rng(5), 0
    for _ in range(500):
        found = accuracy(drawn(rng.normal(size=1000), 1, 1, 0.5, rng))
        hits += found.low <= 0.5 <= found.high
    assert hits / 500 < 0.6
