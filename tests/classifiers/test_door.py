"""The door for users' classifiers: an estimator through it is the estimator fitted by hand, and mistakes are said in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import lora_perf
from lora_perf import CLASSIFIERS
from lora_perf.classifiers import Examples, Fitted, Setup
from lora_perf.core.errors import LoraPerfError
from tests.classifiers.problems import problem, standardised

pytestmark = pytest.mark.usefixtures("own_registry")

ESTIMATORS: dict[str, Callable[[int], Any]] = {
    "svm": lambda _: SVC(),
    "linear svm": lambda _: SVC(kernel="linear", C=0.1),
    "pipeline": lambda _: make_pipeline(MinMaxScaler(), GaussianNB()),
    "centroid": lambda _: NearestCentroid(),
    "discriminant": lambda _: LinearDiscriminantAnalysis(),
    "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "forest": lambda seed: ExtraTreesClassifier(5, random_state=seed),
    "gradient": lambda seed: SGDClassifier(random_state=seed),
}


def entered(function: Callable[..., Any], *, name: str = "mine", f: int = 12, seeds: tuple[int, ...] = (1, 2)) -> Fitted:
    """What a user's function learns of a small problem."""
    lora_perf.classifier(name)(function)
    values, labels, split = problem(f, signal=0.5)
    return CLASSIFIERS[name].fit(Examples(values, split), labels, 3, Setup(seeds))


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(f=st.integers(4, 80), number=st.integers(0, 2**16), signal=st.floats(0.05, 1), seed=st.integers(0, 1000))
def test_an_estimator_is_the_one_fitted_by_hand(name: str, f: int, number: int, signal: float, seed: int) -> None:
    @lora_perf.classifier("mine")
    def mine(seed: int) -> Any:
        return ESTIMATORS[name](seed)

    values, labels, split = problem(f, number, signal)
    examples = Examples(values, split)
    found = CLASSIFIERS["mine"].fit(examples, labels, 3, Setup([seed, seed + 1]))
    x, y = examples.coordinates, labels.numpy()
    for k, run in enumerate(found.runs):
        direct = ESTIMATORS[name](seed + k).fit(x.train, y[split.train])
        assert (run.seed, run.setting, run.epochs, run.curves) == (seed + k, {}, 0, {})
        assert run.validation_accuracy == np.mean(direct.predict(x.validation) == y[split.validation])
        np.testing.assert_array_equal(found.predictions[k], direct.predict(x.test))


def test_narrow_features_are_standardised_and_nothing_else() -> None:
    seen: list[np.ndarray] = []

    class Looks(GaussianNB):
        def fit(self, x: Any, y: Any) -> Any:
            seen.append(x)
            return super().fit(x, y)

    entered(Looks)
    values, _, split = problem(12, signal=0.5)
    np.testing.assert_allclose(seen[0] * 40**0.5, standardised(values, split)[0], atol=1e-9)


def test_the_best_of_several_is_taken_and_told_by_what_differs() -> None:
    def grid() -> Iterator[Any]:
        for c in (1e-4, np.float64(1.0), 100.0):
            yield SVC(C=c, kernel="rbf")

    found = entered(grid)
    values, labels, split = problem(12, signal=0.5)
    x, y = Examples(values, split).coordinates, labels.numpy()
    fits = [SVC(C=c).fit(x.train, y[split.train]) for c in (1e-4, 1.0, 100.0)]
    accuracies = [np.mean(each.predict(x.validation) == y[split.validation]) for each in fits]
    best = int(np.argmax(accuracies))
    assert best > 0, "the first is the best, so this shows nothing"
    assert found.runs[0].setting == {"C": [1e-4, 1.0, 100.0][best]}
    assert type(found.runs[0].setting["C"]) is float
    np.testing.assert_array_equal(found.predictions[0], fits[best].predict(x.test))
    torch.testing.assert_close(found.predict(values[split.test]), found.predictions)


class Plain:
    """An estimator without `get_params`, that always names one class; its `fit` returns nothing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def fit(self, x: Any, y: Any) -> None:
        pass

    def predict(self, x: Any) -> Any:
        return self.answer(x) if callable(self.answer) else np.full(len(x), self.answer)


def test_estimators_without_parameters_are_told_by_their_place() -> None:
    _, labels, split = problem(12, signal=0.5)
    found = entered(lambda: [Plain(0), Plain(1), Plain(2)])
    commonest = labels[split.validation].bincount().argmax()
    assert found.runs[0].setting == {"choice": int(commonest) + 1}
    assert found.predictions.unique().tolist() == [int(commonest)]


def test_a_function_of_a_seed_has_a_run_a_seed_and_others_a_single_one() -> None:
    def seeded(seed: int, depth: int = 3) -> Any:
        return ExtraTreesClassifier(3, max_depth=depth, random_state=seed)

    assert [run.seed for run in entered(seeded, seeds=(5, 9)).runs] == [5, 9]
    assert [run.seed for run in entered(lambda depth=3: DecisionTreeClassifier(max_depth=depth), name="other").runs] == [None]
    assert (CLASSIFIERS["mine"].seeded, CLASSIFIERS["other"].seeded, CLASSIFIERS["mine"].by_epochs) == (True, False, False)


@pytest.mark.parametrize("name", ["mlp", "ridge"])
def test_a_taken_name_is_refused(name: str) -> None:
    with pytest.raises(LoraPerfError, match=f"a new name for a classifier; found '{name}', which is taken"):
        lora_perf.classifier(name)(SVC)


def test_a_function_may_come_again() -> None:
    def first() -> Any:
        return Plain(0)

    def second() -> Any:
        return Plain(1)

    second.__qualname__ = first.__qualname__
    entered(first)
    version = CLASSIFIERS["mine"].version
    assert entered(second).predictions.unique().tolist() == [1]
    assert CLASSIFIERS["mine"].version != version


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda x: np.zeros(len(x) - 1, int), r"found shape \(\d+,\)"),
        (lambda x: np.zeros((len(x), 3), int), r"found shape \(\d+, 3\)"),
        (lambda x: np.zeros(len(x)), "found values of type float64"),
        (lambda x: ["a"] * len(x), "found values of type <U1"),
        (3, "found values from 3 to 3"),
        (-1, "found values from -1 to -1"),
    ],
)
def test_wrong_predictions_are_refused_with_the_name(answer: Any, found: str) -> None:
    with pytest.raises(LoraPerfError, match=f"the classifier mine for 20 rows: their classes, integers from 0 to 2; {found}"):
        entered(lambda: Plain(answer))


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda: None, "a value of type NoneType"),
        (lambda: [], "none"),
        (lambda: SVC, "the class SVC"),
        (lambda: [SVC(), MinMaxScaler()], "a value of type MinMaxScaler"),
        (lambda: [SVC()] * 2, "one of them twice"),
    ],
)
def test_what_is_no_estimator_is_refused(made: Callable[[], Any], found: str) -> None:
    with pytest.raises(LoraPerfError, match=f"from the function of the classifier mine; found {found}"):
        entered(made)


def test_a_function_that_needs_more_than_a_seed_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="of seed alone, for the classifier mine; found one that needs x, y"):
        lora_perf.classifier("mine")(lambda x, y, seed: None)


def test_an_estimator_itself_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="a function for the classifier mine; found a value of type SVC"):
        lora_perf.classifier("mine")(SVC())


def test_errors_of_users_pass_through() -> None:
    class Broken(BaseEstimator):  # type: ignore[misc]
        def fit(self, x: Any, y: Any) -> Any:
            raise ZeroDivisionError("mine")

        def predict(self, x: Any) -> Any: ...

    with pytest.raises(ZeroDivisionError, match="mine"):
        entered(Broken)
