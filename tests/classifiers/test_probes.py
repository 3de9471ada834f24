"""Probes: exact rotations, settings chosen on validation rows, fits on train rows alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from lora_perf.classifiers import probes
from lora_perf.classifiers.probes import PROBES, Coordinates, coordinates, fit
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split

N_TRAIN, N_VALIDATION, N_TEST = 40, 20, 30


def split_of(seed: int = 0) -> Split:
    rows = torch.randperm(N_TRAIN + N_VALIDATION + N_TEST, generator=torch.Generator().manual_seed(seed))
    train, validation, test = rows.split([N_TRAIN, N_VALIDATION, N_TEST])
    return Split(train, validation, test, "stratified")


def problem(f: int, seed: int = 0, signal: float = 1.0) -> tuple[Tensor, Tensor, Split]:
    """Features (90, f) of three classes whose means differ, of very different scales, the last two columns constant."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(90) % 3)
    means = signal * rng.normal(size=(3, f))
    values = (means[labels] + rng.normal(size=(90, f))) * 10.0 ** rng.integers(-3, 4, f) + 5
    values[:, -2:] = 7.0
    return torch.tensor(values, dtype=torch.float32), torch.tensor(labels), split_of(seed)


def standardised(values: Tensor, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in plain NumPy, without a rotation: the columns that vary, by mean and deviation of the train rows."""
    x = values.double().numpy()[:, :-2]
    train = x[split.train]
    z = (x - train.mean(axis=0)) / train.std(axis=0)
    return z[split.train], z[split.validation], z[split.test]


@pytest.mark.parametrize("f", [6, 41, 42, 300])
def test_coordinates_keep_inner_products_with_the_train_rows(f: int) -> None:
    values, _, split = problem(f)
    x = coordinates(values, split)
    oracle = standardised(values, split)
    unit = max(N_TRAIN, f - 2)
    for part, expected in zip((x.train, x.validation, x.test), oracle, strict=True):
        np.testing.assert_allclose(part @ x.train.T * unit, expected @ oracle[0].T, rtol=1e-6, atol=1e-6 * unit)


def test_wide_features_get_at_most_as_many_dimensions_as_train_rows() -> None:
    values, _, split = problem(300)
    assert coordinates(values, split).train.shape == (N_TRAIN, N_TRAIN - 1)  # the mean of the train rows is zero


def test_the_mean_square_of_a_dimension_is_one() -> None:
    for f in (12, 300):
        values, _, split = problem(f)
        x = coordinates(values, split).train
        assert np.square(x).sum() / min(N_TRAIN, f - 2) == pytest.approx(1)


def test_columns_in_chunks_give_what_they_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for f in (12, 300):
        values, _, split = problem(f)
        whole = coordinates(values, split)
        monkeypatch.setattr(probes, "_CHUNK_NBYTES", 8 * 90 * 7)
        chunked = coordinates(values, split)
        np.testing.assert_allclose(whole.test @ whole.train.T, chunked.test @ chunked.train.T, atol=1e-12)


@pytest.mark.parametrize("f", [12, 300])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), signal=st.floats(0.05, 1))
def test_probes_predict_what_they_predict_of_features_that_were_not_rotated(f: int, seed: int, signal: float) -> None:
    values, labels, split = problem(f, seed, signal)
    x, (train, _, test), y = coordinates(values, split), standardised(values, split), labels[split.train].numpy()
    unit = max(N_TRAIN, f - 2)
    for setting, fitted in PROBES["ridge"](x.train, y):
        direct = RidgeClassifier(alpha=setting["alpha"] * unit, solver="svd").fit(train, y)
        np.testing.assert_allclose(fitted.decision_function(x.test), direct.decision_function(test), atol=1e-6)
    for setting, fitted in PROBES["knn"](x.train, y):
        direct = KNeighborsClassifier(setting["k"], metric=setting["metric"], algorithm="brute").fit(train, y)
        np.testing.assert_array_equal(fitted.predict(x.test), direct.predict(test))


@pytest.mark.parametrize("f", [12, 300])
def test_logistic_regression_predicts_what_it_predicts_of_features_that_were_not_rotated(f: int) -> None:
    values, labels, split = problem(f, signal=0.2)
    x, (train, _, test), y = coordinates(values, split), standardised(values, split), labels[split.train].numpy()
    for setting, fitted in PROBES["logistic"](x.train, y):
        penalty = setting["C"] / max(N_TRAIN, f - 2)
        direct = LogisticRegression(C=penalty, solver="newton-cg", tol=1e-9, max_iter=1000).fit(train, y)
        np.testing.assert_allclose(fitted.predict_proba(x.test), direct.predict_proba(test), atol=2e-3)


@pytest.mark.parametrize("name", PROBES)
def test_the_setting_is_the_first_of_those_best_on_validation_rows_and_is_fitted_to_train_rows(name: str) -> None:
    values, labels, split = problem(20, signal=0.3)
    x = coordinates(values, split)
    found = fit(name, x, labels, split)
    accuracies, predictions, tried = [], [], []
    for setting, fitted in PROBES[name](x.train, labels[split.train].numpy()):
        accuracies.append(np.mean(fitted.predict(x.validation) == labels[split.validation].numpy()))
        predictions.append(fitted.predict(x.test))
        tried.append(setting)
    best = int(np.argmax(accuracies))
    assert (found.setting, found.validation_accuracy) == (tried[best], accuracies[best])
    np.testing.assert_array_equal(found.predictions, predictions[best])


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_finds_classes_that_are_far_apart(name: str) -> None:
    values, labels, split = problem(300, signal=3)
    found = fit(name, coordinates(values, split), labels, split)
    assert np.mean(found.predictions == labels[split.test].numpy()) > 0.95


@pytest.mark.parametrize("name", PROBES)
def test_the_labels_of_test_rows_are_never_looked_at(name: str) -> None:
    values, labels, split = problem(30, signal=0.5)
    others = labels.clone()
    others[split.test] = (others[split.test] + 1) % 3
    x = coordinates(values, split)
    np.testing.assert_array_equal(fit(name, x, labels, split).predictions, fit(name, x, others, split).predictions)


@pytest.mark.parametrize("f", [12, 300])
def test_test_rows_do_not_move_the_train_coordinates(f: int) -> None:
    values, _, split = problem(f)
    moved = values.clone()
    moved[split.test] *= -3
    np.testing.assert_array_equal(coordinates(values, split).train, coordinates(moved, split).train)


def test_fewer_train_rows_than_neighbours_leave_the_smaller_numbers() -> None:
    x, y = np.eye(4), np.array([0, 0, 1, 1])
    assert {setting["k"] for setting, _ in PROBES["knn"](x, y)} == {1, 3}


def test_constant_columns_are_named() -> None:
    values, _, split = problem(30)
    assert coordinates(values, split).dropped.tolist() == [28, 29]


def test_an_unknown_probe_is_refused() -> None:
    values, labels, split = problem(5)
    with pytest.raises(LoraPerfError, match=r"a probe \(ridge, logistic, knn\); found 'forest'"):
        fit("forest", coordinates(values, split), labels, split)


def test_a_single_class_is_refused() -> None:
    values, labels, split = problem(5)
    with pytest.raises(LoraPerfError, match="two classes or more; found a single class"):
        fit("ridge", coordinates(values, split), labels * 0, split)


def test_more_dimensions_than_fit_in_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MOST_DIMENSIONS", 39)
    values, _, split = problem(300)
    with pytest.raises(LoraPerfError, match="at most 39 train rows or features for ridge, logistic, knn; found 40 train rows"):
        coordinates(values, split)
    narrow, _, _ = problem(30)
    assert coordinates(narrow, split).train.shape[1] == 28


def test_no_convergence_is_told_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(probes, "_MOST_ITERATIONS", 1)
    values, labels, split = problem(30, signal=0.2)
    with caplog.at_level("INFO", logger="lora_perf.classifiers.probes"):
        fit("logistic", coordinates(values, split), labels, split)
    assert "did not converge in 1 iterations" in caplog.text


def test_coordinates_hold_float64() -> None:
    values, _, split = problem(300)
    x: Coordinates = coordinates(values, split)
    assert {x.train.dtype, x.validation.dtype, x.test.dtype} == {np.dtype("float64")}
