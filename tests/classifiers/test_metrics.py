import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import f1_score, precision_score, recall_score

from lora_perf.classifiers.metrics import (
    Answers,
    accuracy,
    accuracy_of,
    difference_of,
    of_clusters,
    paired_difference,
    score,
)
from lora_perf.core.errors import LoraPerfError


def crossed(rng, s, n, sd_run, sd_adapter, sd_rest, mean=0.0):
    """Answers of a two-way random probit model."""
    cells = mean + rng.normal(0, sd_run, (s, 1)) + rng.normal(0, sd_adapter, (1, n)) + rng.normal(0, sd_rest, (s, n))
    return (cells > 0).astype(float)


def test_scores_follow_their_definitions():
    rng = np.random.default_rng(0)
    truth, predictions = rng.integers(0, 4, 50), rng.integers(0, 3, (5, 50))  # class 3 is never predicted
    scores = score(predictions, truth, 5)  # and class 4 never occurs
    for k, run in enumerate(predictions):
        table = np.zeros((5, 5), int)
        for true, guess in zip(truth, run, strict=True):
            table[true, guess] += 1
        right = np.diag(table)
        with np.errstate(invalid="ignore"):
            precision, recall = (np.nan_to_num(right / table.sum(axis)) for axis in (0, 1))
            f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
        np.testing.assert_array_equal(scores.confusion[k], table)
        np.testing.assert_allclose(scores.accuracy[k], right.sum() / 50)
        seen = table.sum(0) + table.sum(1) > 0
        np.testing.assert_allclose(scores.macro_precision[k], precision[seen].mean())
        np.testing.assert_allclose(scores.macro_recall[k], recall[seen].mean())
        np.testing.assert_allclose(scores.macro_f1[k], f1[seen].mean())


@given(st.data())
def test_macro_means_are_those_of_scikit_learn_by_default(data):
    n_classes, n = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    answers = st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n)
    truth, runs = data.draw(answers), data.draw(st.lists(answers, min_size=1, max_size=3))
    scores = score(runs, truth, n_classes)
    for k, run in enumerate(runs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            expected = [of(truth, run, average="macro") for of in (f1_score, precision_score, recall_score)]
        np.testing.assert_allclose([scores.macro_f1[k], scores.macro_precision[k], scores.macro_recall[k]], expected)


def test_perfect_predictions_of_a_part_of_the_classes_score_1():
    scores = score([[0, 0, 0]], [0, 0, 0], 5)
    assert (scores.macro_f1[0], scores.macro_precision[0], scores.macro_recall[0]) == (1, 1, 1)
    assert scores.confusion.shape == (1, 5, 5)


def test_the_variance_is_the_unbiased_one_of_a_crossed_design():
    """Gallas (2006): unbiased moments from pairs of cells that share a run, an adapter, or neither."""
    cells = crossed(np.random.default_rng(1), 6, 40, 0.5, 1.0, 0.5)
    s, n = cells.shape
    total, square = cells.sum(), np.square(cells).sum()
    same_run, same_adapter = np.square(cells.sum(1)).sum(), np.square(cells.sum(0)).sum()
    m1 = square / (s * n)
    m2 = (same_run - square) / (s * n * (n - 1))
    m3 = (same_adapter - square) / (s * (s - 1) * n)
    m4 = (total**2 - same_run - same_adapter + square) / (s * (s - 1) * n * (n - 1))
    variance = (m1 + (n - 1) * m2 + (s - 1) * m3 + (s - 1) * (n - 1) * m4) / (s * n) - m4
    np.testing.assert_allclose(accuracy(cells).se, np.sqrt(variance))


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (3, 10), (5, 6), (2, 15)])
def test_the_interval_holds_all_accuracies_that_the_score_test_does_not_reject(shape):
    """Wilson (1927): (mean - p)^2 <= t^2 p (1 - p) / n_eff, here solved numerically, with n_eff = mean (1 - mean) / se^2."""
    cells = np.random.default_rng(2).integers(0, 2, 30).astype(float).reshape(shape)
    estimate = accuracy(cells)
    n_eff = estimate.mean * (1 - estimate.mean) / estimate.se**2
    t = stats.t.ppf(0.975, estimate.df)

    def beyond(p):
        return (estimate.mean - p) ** 2 - t**2 * p * (1 - p) / n_eff

    low, high = optimize.brentq(beyond, 0, estimate.mean), optimize.brentq(beyond, estimate.mean, 1)
    np.testing.assert_allclose([estimate.low, estimate.high], [low, high])


@pytest.mark.parametrize("shape", [(1, 30), (30, 1)])
def test_a_single_source_of_variance_is_a_single_sample(shape):
    cells = np.random.default_rng(2).integers(0, 2, 30).astype(float)
    estimate = accuracy(cells.reshape(shape))
    np.testing.assert_allclose([estimate.se, estimate.df], [stats.sem(cells), 29])


def test_the_interval_of_a_single_run_of_many_adapters_is_that_of_wilson():
    cells = (np.random.default_rng(3).random((1, 5000)) < 0.97).astype(float)
    wilson = stats.binomtest(int(cells.sum()), 5000).proportion_ci(method="wilson")
    estimate = accuracy(cells)
    np.testing.assert_allclose([estimate.low, estimate.high], [wilson.low, wilson.high], atol=1e-5)


def test_the_interval_of_a_single_run_agrees_with_the_bootstrap_over_adapters():
    cells = (np.random.default_rng(10).random((1, 200)) < 0.8).astype(float)
    result = stats.bootstrap((cells[0],), np.mean, n_resamples=4000, rng=np.random.default_rng(11), method="percentile")
    estimate = accuracy(cells)
    np.testing.assert_allclose(estimate.se, result.standard_error, rtol=0.05)
    np.testing.assert_allclose([estimate.low, estimate.high], result.confidence_interval, atol=0.01)


def test_the_interval_of_a_single_run_covers_the_truth_of_new_adapters_as_often_as_it_promises():
    rng = np.random.default_rng(12)
    estimates = [accuracy(rng.random((1, 200)) < 0.8) for _ in range(1000)]
    assert 0.93 <= np.mean([e.low <= 0.8 <= e.high for e in estimates]) <= 0.97


def test_identical_runs_add_nothing():
    one = np.random.default_rng(3).integers(0, 2, (1, 50)).astype(float)
    np.testing.assert_allclose(accuracy(one.repeat(8, axis=0)).se, accuracy(one).se)


def test_a_variance_estimated_below_zero_counts_as_zero():
    cells = np.array([[1, 0, 1, 0], [0, 1, 0, 1]] * 3, float)  # all runs and all adapters have mean 1/2
    mean_square = 24 * 0.25 / 15
    estimate = accuracy(cells)
    np.testing.assert_allclose([estimate.se, estimate.df], [np.sqrt(mean_square / 24), 15])


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.025 ** (1 / 20), 1.0), (0.0, 0.0, 1 - 0.025 ** (1 / 20))])
def test_answers_all_alike_get_the_exact_binomial_bound(value, low, high):
    estimate = accuracy(np.full((5, 20), value))
    exact = stats.binomtest(int(20 * value), 20).proportion_ci(method="exact")
    np.testing.assert_allclose([estimate.low, estimate.high], [low, high])
    np.testing.assert_allclose([estimate.low, estimate.high], [exact.low, exact.high], atol=1e-12)


def test_an_interval_of_accuracies_stays_within_zero_and_one():
    cells = np.ones((3, 6))
    cells[0, 0] = 0
    estimate = accuracy(cells)
    assert 0 <= estimate.low < estimate.mean < estimate.high <= 1


@pytest.mark.parametrize(("s", "n", "sd_run", "sd_adapter"), [(10, 200, 0.3, 1.0), (5, 50, 0.6, 0.6), (10, 100, 0.0, 1.5)])
def test_intervals_cover_the_truth_as_often_as_they_promise(s, n, sd_run, sd_adapter):
    rng = np.random.default_rng(4)
    truth = stats.norm.cdf(0.5 / np.sqrt(sd_run**2 + sd_adapter**2 + 0.25))
    estimates = [accuracy(crossed(rng, s, n, sd_run, sd_adapter, 0.5, mean=0.5)) for _ in range(400)]
    coverage = np.mean([e.low <= truth <= e.high for e in estimates])
    assert 0.92 <= coverage <= 0.985


@pytest.mark.parametrize(
    ("s", "n", "p"), [(10, 20, 0.97), (10, 100, 0.97), (1, 100, 0.97), (2, 100, 0.5), (2, 100, 0.97), (3, 20, 0.1)]
)
def test_intervals_cover_the_truth_near_the_ends_and_with_few_runs(s, n, p):
    """Nominal 95 %, of 400 tables; the interval mean +- t se covers 85 to 88 % of the first and the third."""
    rng = np.random.default_rng(20)
    mean = stats.norm.ppf(p) * np.sqrt(2.01)
    estimates = [accuracy(crossed(rng, s, n, 0.1 if s > 1 else 0.0, 1.0 if s > 1 else 1.0051, 1.0, mean)) for _ in range(400)]
    assert np.mean([e.low <= p <= e.high for e in estimates]) >= 0.91


def test_two_runs_that_disagree_leave_an_interval_that_says_something():
    cells = np.zeros((2, 100))
    cells[0, :45] = cells[1, 20:80] = 1  # accuracies of 0.45 and 0.60
    estimate = accuracy(cells)
    assert estimate.df >= 2
    assert 0.2 < estimate.low < 0.45
    assert 0.6 < estimate.high < 0.85


def test_the_variance_of_two_runs_is_not_seen_below_that_of_chance():
    """Two runs of one accuracy, whose run mean square is 0: it counts as the mean square of the rest."""
    cells = np.array([[1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0]], float)
    of_adapter = np.square(cells.mean(0) - 0.5).sum() * 2 / 5
    rest = np.square(cells - cells.mean(0)).sum() / 5
    estimate = accuracy(cells)
    np.testing.assert_allclose(estimate.se, np.sqrt((rest + of_adapter) / 12))


def test_paired_differences_cover_zero_and_reject_as_often_as_they_promise():
    rng = np.random.default_rng(5)
    pairs = []
    for _ in range(400):
        adapter, run = rng.normal(0, 1, (1, 100)), rng.normal(0, 0.2, (2, 10, 1))
        one, other = (adapter + run + rng.normal(0, 0.7, (2, 1, 100)) + rng.normal(0, 0.5, (2, 10, 100))) > 0
        pairs.append(paired_difference(one, other))
    rejected = np.mean([pair.p < 0.05 for pair in pairs])
    assert 0.015 <= rejected <= 0.08
    assert rejected == np.mean([not pair.low <= 0 <= pair.high for pair in pairs])


@pytest.mark.parametrize(("s", "n"), [(2, 100), (3, 200)])
def test_few_runs_raise_no_false_alarms(s, n):
    rng, rejected = np.random.default_rng(15), []
    for _ in range(400):
        adapter, run = rng.normal(0, 1, (1, n)), rng.normal(0, 0.1, (2, s, 1))
        one, other = (adapter + run + rng.normal(0, 0.5, (2, 1, n)) + rng.normal(0, 0.5, (2, s, n))) > 0
        rejected.append(paired_difference(one, other).p < 0.05)
    assert np.mean(rejected) <= 0.08


def test_pairing_removes_what_both_sides_share():
    rng = np.random.default_rng(6)
    one = crossed(rng, 10, 200, 0.1, 2.0, 0.2)
    other = one.copy()
    other[:, :20] = 0
    pair = paired_difference(one, other)
    np.testing.assert_allclose(pair.mean, one.mean() - other.mean())
    assert pair.se < accuracy(one).se
    assert pair.p < 0.01


def test_one_run_a_side_is_the_paired_t_test():
    a, b = np.random.default_rng(7).integers(0, 2, (2, 1, 60)).astype(float)
    pair, oracle = paired_difference(a, b), stats.ttest_rel(a[0], b[0])
    interval = oracle.confidence_interval()
    np.testing.assert_allclose([pair.p, pair.low, pair.high], [oracle.pvalue, interval.low, interval.high])


def test_equal_answers_do_not_differ():
    cells = np.random.default_rng(8).integers(0, 2, (4, 30))
    pair = paired_difference(cells, cells)
    assert (pair.mean, pair.low, pair.high, pair.p) == (0, 0, 0, 1)


def test_answers_that_cannot_be_paired_are_refused():
    with pytest.raises(LoraPerfError, match="2 x 30 and 3 x 30 answers"):
        paired_difference(np.ones((2, 30)), np.ones((3, 30)))


@pytest.mark.parametrize("shape", [(1, 1), (5,), (0, 3)])
def test_a_single_answer_has_no_interval(shape):
    with pytest.raises(LoraPerfError, match="at least two of them"):
        accuracy(np.ones(shape))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 8), st.integers(1, 5))
def test_clusters_of_one_size_are_their_means(seed, runs, clusters, size):
    cells = (np.random.default_rng(seed).random((runs, clusters * size)) < 0.6).astype(float)
    of = np.arange(clusters * size) // size
    np.testing.assert_allclose(of_clusters(cells, of + 17), cells.reshape(runs, clusters, size).mean(axis=2), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_variance_over_clusters_is_that_of_the_jackknife(seed, clusters):
    """Of one run: the spread of the means that leave out a cluster each, (c - 1) / c times its sum of squares."""
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(clusters), rng.integers(0, clusters, 30)])
    cells = rng.random((1, len(of)))
    without = np.array([cells[0, of != c].mean() for c in range(clusters)])
    expected = (clusters - 1) / clusters * np.square(without - without.mean()).sum()
    found = accuracy(cells, of)
    assert found.se**2 == pytest.approx(expected)
    assert found.mean == pytest.approx(cells.mean())
    assert found.df == clusters - 1


def test_a_single_cluster_tells_nothing_of_others():
    with pytest.raises(LoraPerfError, match="test adapters of at least two groups; found a single one of all 5"):
        accuracy(np.eye(2, 5), np.zeros(5))


def test_repeated_splits_are_those_of_nadeau_and_bengio():
    rng = np.random.default_rng(0)
    first, second = ([Answers(rng.random((2, 50)) < p, None, 200) for _ in range(6)] for p in (0.7, 0.6))
    means = np.array([[np.mean(one.right) for one in side] for side in (first, second)])
    found = difference_of(first, second)
    gaps = means[0] - means[1]
    se = np.sqrt((1 / 6 + 50 / 200) * gaps.var(ddof=1))
    assert (found.mean, found.se, found.df) == (pytest.approx(gaps.mean()), pytest.approx(se), 5)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(gaps.mean()) / se, 5))
    assert accuracy_of(first).mean == pytest.approx(means[0].mean())
    assert accuracy_of(first[:1]) == accuracy(first[0].right)
    with pytest.raises(LoraPerfError, match="found 6 and 5 splits"):
        difference_of(first, second[:5])


def test_values_that_are_no_shares_have_the_interval_of_student():
    cells = np.random.default_rng(1).normal(0.2, 1, (1, 30))
    found = accuracy(cells)
    low, high = stats.t.interval(0.95, 29, cells.mean(), stats.sem(cells[0]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_intervals_of_clusters_cover_the_truth():
    """500 tables of 40 clusters of 5 adapters, half of whose variance is that of the cluster: 475 are expected."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(500):
        of = np.arange(200) // 5
        cells = (rng.normal(size=40)[of] + rng.normal(size=200) > 0).astype(float)[None]
        found = accuracy(cells, of)
        hits += found.low <= 0.5 <= found.high
    assert 460 <= hits <= 490
