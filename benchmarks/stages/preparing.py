"""Between features and classifier: splits, standardisation, and the scores of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import baselines, surface
from benchmarks.table import Baseline, Case, workload

_CLASSES = 10
_SEED = 42
_ADAPTERS = {"small": 1_000, "medium": 50_000}  # to split: index work only
_FEATURES = {"small": 1_000, "medium": 8_576}  # of 1,000 adapters; the second is `ensemble` of all layers of SD 1.5
_CONSTANT = (0, 17, 500)  # columns that must be left out
_RUNS, _PREDICTIONS = 10, 2_000


def _labels(n: int) -> torch.Tensor:
    """Ten classes of unequal size, the smallest half as large as the largest."""
    shares = np.linspace(2, 1, _CLASSES)
    return torch.from_numpy(np.random.default_rng(0).choice(_CLASSES, n, p=shares / shares.sum()))


def _check_parts(parts: baselines.Parts, n: int) -> None:
    """Each row is in one part, and the parts have the sizes of the recipe."""
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    held = -(-3 * n // 10)
    test = -(-67 * held // 100)
    assert [len(part) for part in parts] == [n - held, held - test, test], [len(part) for part in parts]


@workload("preparing", "small", "medium", baselines=("scikit-learn",))
def split_stratified(scale: str) -> Case:
    """Row indices of the three parts, each class in proportion."""
    n, make_split = _ADAPTERS[scale], surface.make_split
    labels = _labels(n)
    classes = [str(c) for c in range(_CLASSES)]
    y = labels.numpy()

    def check_counts(parts: baselines.Parts) -> None:
        _check_parts(parts, n)
        for part in parts:  # rounding gives a class one row more or less; the baseline rounds twice
            expected = np.bincount(y, minlength=_CLASSES) * (len(part) / n)
            assert np.all(np.abs(np.bincount(y[part], minlength=_CLASSES) - expected) < 2)

    def check(split: Any) -> None:
        parts = (split.train.numpy(), split.validation.numpy(), split.test.numpy())
        check_counts(parts)
        assert all(np.all(np.diff(part) > 0) for part in parts), "rows are not ascending"
        assert (split.kind, split.resubstitution) == ("stratified", False)

    return Case(
        call=lambda: make_split(labels, classes, method="stratified", seed=_SEED),
        check=check,
        nbytes=labels.nbytes,
        baselines={"scikit-learn": Baseline(lambda: baselines.split_by_sklearn(y, _SEED), check_counts)},
        adapters=n,
    )


@workload("preparing", "small", "medium", baselines=("datasets",))
def split_original(scale: str) -> Case:
    """The very rows of the original recipe."""
    import datasets

    n, make_split = _ADAPTERS[scale], surface.make_split
    labels = _labels(n)
    classes = [str(c) for c in range(_CLASSES)]
    data = datasets.Dataset.from_dict({"row": np.arange(n)})

    def rows(parts: tuple[Any, Any, Any]) -> list[NDArray[np.int64]]:
        return [part.with_format("numpy")["row"][:] for part in parts]

    expected = rows(baselines.split_by_datasets(data, _SEED))
    _check_parts((expected[0], expected[1], expected[2]), n)

    def check_rows(found: list[NDArray[np.int64]]) -> None:
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    def check(split: Any) -> None:
        check_rows([split.train.numpy(), split.validation.numpy(), split.test.numpy()])
        assert (split.kind, split.resubstitution) == ("original", False)

    slow = Baseline(lambda: baselines.split_by_datasets(data, _SEED), lambda found: check_rows(rows(found)))
    return Case(
        call=lambda: make_split(labels, classes, method="original", seed=_SEED),
        check=check,
        nbytes=labels.nbytes,
        baselines={"datasets": slow},
        adapters=n,
    )


@workload("preparing", "small", "medium", baselines=("scikit-learn",))
def standardise(scale: str) -> Case:
    """The train rows standardised by their own statistics, constant columns left out."""
    n, f, standardiser = 1_000, _FEATURES[scale], surface.Standardiser
    rng = np.random.default_rng(1)
    # Features lie anywhere: from 1e-3 to 1e3, and as far from zero as they are wide.
    array = (rng.standard_normal((n, f)) + rng.standard_normal(f)) * 10 ** rng.uniform(-3, 3, f)
    array[:, _CONSTANT] = 3.25
    values = torch.from_numpy(array.astype(np.float32))
    train = torch.from_numpy(np.sort(rng.permutation(n)[:700]))
    numpy_values, numpy_train = values.numpy(), train.numpy()

    varying = np.setdiff1d(np.arange(f), _CONSTANT)
    exact = numpy_values[np.ix_(numpy_train, varying)].astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        fitted = standardiser.fit(values, train)
        rows = fitted.select(values)[train]
        return fitted.kept, rows.sub_(fitted.mean.float()).mul_(fitted.scale.reciprocal().float())

    def check_rows(found: tuple[NDArray[np.int64], NDArray[np.float32]]) -> None:
        kept, rows = found
        np.testing.assert_array_equal(kept, varying)
        # Three float32 roundings of values whose mean is up to some deviations from zero.
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)

    slow = Baseline(lambda: baselines.standardise_by_sklearn(numpy_values, numpy_train), check_rows)
    return Case(
        call=call,
        check=lambda found: check_rows((found[0].numpy(), found[1].numpy())),
        nbytes=values.nbytes,
        baselines={"scikit-learn": slow},
        adapters=n,
    )


@workload("preparing", "small", "medium", baselines=("scikit-learn",))
def score_metrics(scale: str) -> Case:
    """Accuracy, macro F1, precision, recall and confusions of ten runs, and the interval of their accuracy."""
    score, accuracy = surface.score, surface.accuracy
    rng = np.random.default_rng(2)
    truth = rng.integers(_CLASSES, size=_PREDICTIONS)
    right = rng.random((_RUNS, _PREDICTIONS)) < 0.5
    predictions = np.where(right, truth, rng.integers(_CLASSES, size=(_RUNS, _PREDICTIONS)))
    expected = baselines.scores_by_formula(predictions, truth)

    def check_table(found: tuple[Any, Any]) -> None:
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
        np.testing.assert_array_equal(found[1], expected[1])

    def call() -> tuple[Any, Any]:
        return score(predictions, truth, _CLASSES), accuracy(predictions == truth)

    def check(found: tuple[Any, Any]) -> None:
        scores, estimate = found
        columns = (scores.accuracy, scores.macro_f1, scores.macro_precision, scores.macro_recall)
        check_table((np.stack(columns, axis=1), scores.confusion))
        _check_interval(estimate, (predictions == truth).astype(np.float64))

    return Case(
        call=call,
        check=check,
        nbytes=predictions.nbytes + truth.nbytes,
        baselines={"scikit-learn": Baseline(lambda: baselines.scores_one_by_one(predictions, truth), check_table)},
    )


def _check_interval(estimate: Any, correct: NDArray[np.float64]) -> None:
    """The two-way random model, by least squares: mean squares of runs, adapters and what is left."""
    from scipy.stats import t

    s, n = correct.shape
    mean = correct.mean()
    runs, adapters = correct.mean(axis=1, keepdims=True), correct.mean(axis=0, keepdims=True)
    left = np.sum((correct - runs - adapters + mean) ** 2) / ((s - 1) * (n - 1))
    squares = {
        s - 1: max(left, n * np.sum((runs - mean) ** 2) / (s - 1)),
        n - 1: max(left, s * np.sum((adapters - mean) ** 2) / (n - 1)),
    }
    varied = [(square, df) for df, square in squares.items() if square > left]
    terms = [*varied, (-left, (s - 1) * (n - 1))] if len(varied) == 2 else varied or [(left, (s - 1) * (n - 1))]
    total = sum(square for square, _ in terms)
    df = total**2 / sum(square**2 / one for square, one in terms)
    se = np.sqrt(total / (s * n))
    # Wilson's interval of so many adapters as have this standard error, by the roots of its quadratic equation in p.
    k = (t.ppf(0.975, df) * se) ** 2 / (mean * (1 - mean))
    low, high = np.sort(np.roots([1 + k, -2 * mean - k, mean**2]))
    found = [estimate.mean, estimate.low, estimate.high, estimate.se, estimate.df]
    np.testing.assert_allclose(found, [mean, low, high, se, df], rtol=1e-9)
