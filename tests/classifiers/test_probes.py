"""Probes: the same answers as without a rotation, settings chosen on validation rows, fits on train rows alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from lora_perf.classifiers import CLASSIFIERS, Examples, probes
from lora_perf.classifiers.coordinates import coordinates
from lora_perf.core.errors import LoraPerfError
from tests.classifiers.problems import N_TRAIN, problem, standardised

PROBES = ["ridge", "logistic", "knn"]


@pytest.mark.parametrize("f", [12, 300])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), signal=st.floats(0.05, 1))
def test_probes_predict_what_they_predict_of_features_that_were_not_rotated(f: int, seed: int, signal: float) -> None:
    values, labels, split = problem(f, seed, signal)
    x, (train, _, test), y = coordinates(values, split), standardised(values, split), labels[split.train].numpy()
    unit = max(N_TRAIN, f - 2)
    for setting, fitted in probes.ridge(x.train, y):
        direct = RidgeClassifier(alpha=setting["alpha"] * unit, solver="svd").fit(train, y)
        np.testing.assert_allclose(fitted.decision_function(x.test), direct.decision_function(test), atol=1e-6)
    for setting, fitted in probes.knn(x.train, y):
        direct = KNeighborsClassifier(setting["k"], metric=setting["metric"], algorithm="brute").fit(train, y)
        np.testing.assert_array_equal(fitted.predict(x.test), direct.predict(test))


@pytest.mark.parametrize("f", [12, 300])
def test_logistic_regression_predicts_what_it_predicts_of_features_that_were_not_rotated(f: int) -> None:
    values, labels, split = problem(f, signal=0.2)
    x, (train, _, test), y = coordinates(values, split), standardised(values, split), labels[split.train].numpy()
    for setting, fitted in probes.logistic(x.train, y):
        penalty = setting["C"] / max(N_TRAIN, f - 2)
        direct = LogisticRegression(C=penalty, solver="newton-cg", tol=1e-9, max_iter=1000).fit(train, y)
        np.testing.assert_allclose(fitted.predict_proba(x.test), direct.predict_proba(test), atol=2e-3)


@pytest.mark.parametrize("name", PROBES)
def test_the_setting_is_the_first_of_those_best_on_validation_rows_and_is_fitted_to_train_rows(name: str) -> None:
    values, labels, split = problem(20, signal=0.3)
    examples = Examples(values, split)
    x, found = examples.coordinates, CLASSIFIERS[name].fit(examples, labels, 3)
    accuracies, predictions, tried = [], [], []
    for setting, fitted in getattr(probes, name)(x.train, labels[split.train].numpy()):
        accuracies.append(np.mean(fitted.predict(x.validation) == labels[split.validation].numpy()))
        predictions.append(fitted.predict(x.test))
        tried.append(setting)
    best = int(np.argmax(accuracies))
    (run,) = found.runs
    assert (run.seed, run.setting, run.validation_accuracy) == (None, tried[best], accuracies[best])
    np.testing.assert_array_equal(found.predictions[0], predictions[best])
    torch.testing.assert_close(found.predict(values[split.test]), found.predictions)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_finds_classes_that_are_far_apart(name: str) -> None:
    values, labels, split = problem(300, signal=3)
    found = CLASSIFIERS[name].fit(Examples(values, split), labels, 3)
    assert (found.predictions[0] == labels[split.test]).double().mean() > 0.95


@pytest.mark.parametrize("name", PROBES)
def test_the_labels_of_test_rows_are_never_looked_at(name: str) -> None:
    values, labels, split = problem(30, signal=0.5)
    others = labels.clone()
    others[split.test] = (others[split.test] + 1) % 3
    examples = Examples(values, split)
    found, again = (CLASSIFIERS[name].fit(examples, known, 3) for known in (labels, others))
    torch.testing.assert_close(found.predictions, again.predictions)


def test_fewer_train_rows_than_neighbours_leave_the_smaller_numbers() -> None:
    x, y = np.eye(4), np.array([0, 0, 1, 1])
    assert {setting["k"] for setting, _ in probes.knn(x, y)} == {1, 3}


def test_a_single_class_is_refused() -> None:
    values, labels, split = problem(5)
    with pytest.raises(LoraPerfError, match="two classes or more; found a single class"):
        CLASSIFIERS["ridge"].fit(Examples(values, split), labels * 0, 3)


def test_no_convergence_is_told_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(probes, "_MOST_ITERATIONS", 1)
    values, labels, split = problem(30, signal=0.2)
    with caplog.at_level("INFO", logger="lora_perf.classifiers.probes"):
        CLASSIFIERS["logistic"].fit(Examples(values, split), labels, 3)
    assert "did not converge in 1 iterations" in caplog.text
