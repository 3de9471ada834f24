import numpy as np
import pytest
from scipy import stats

from lora_perf.errors import LoraPerfError
from lora_perf.metrics import accuracy, paired_difference, score


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
        np.testing.assert_allclose(scores.macro_precision[k], precision.mean())
        np.testing.assert_allclose(scores.macro_recall[k], recall.mean())
        np.testing.assert_allclose(scores.macro_f1[k], f1.mean())


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


@pytest.mark.parametrize("shape", [(1, 30), (30, 1)])
def test_a_single_source_of_variance_gives_the_one_sample_t_interval(shape):
    cells = np.random.default_rng(2).integers(0, 2, 30).astype(float)
    estimate = accuracy(cells.reshape(shape))
    low, high = stats.ttest_1samp(cells, 0.5).confidence_interval()
    np.testing.assert_allclose([estimate.low, estimate.high, estimate.df], [low, high, 29])


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
    assert estimate.high == 1.0
    assert 0 <= estimate.low < estimate.mean


@pytest.mark.parametrize(("s", "n", "sd_run", "sd_adapter"), [(10, 200, 0.3, 1.0), (5, 50, 0.6, 0.6), (10, 100, 0.0, 1.5)])
def test_intervals_cover_the_truth_as_often_as_they_promise(s, n, sd_run, sd_adapter):
    rng = np.random.default_rng(4)
    truth = stats.norm.cdf(0.5 / np.sqrt(sd_run**2 + sd_adapter**2 + 0.25))
    estimates = [accuracy(crossed(rng, s, n, sd_run, sd_adapter, 0.5, mean=0.5)) for _ in range(400)]
    coverage = np.mean([e.low <= truth <= e.high for e in estimates])
    assert 0.92 <= coverage <= 0.985


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
