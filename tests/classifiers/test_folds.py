"""Settings chosen by folds: scikit-learn's own search with pipelines, p values, and what no fold may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from torch import Tensor

import lora_perf
from lora_perf.classifiers import CLASSIFIERS, Examples, Setup
from lora_perf.classifiers.permuted import READERS, permuted
from lora_perf.classifiers.probes import ALPHAS, METRICS, NEIGHBOURS
from lora_perf.core.split import Split, make_split
from lora_perf.core.target import Task
from lora_perf.experiment.folds import inner_folds
from tests.classifiers.test_permuted import COUNT, alone

N = 100
CS = (1e-1, 1e0, 1e1, 1e2, 1e3)


class Scaled(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Standardises by the rows that it is fitted to, in the unit of probes: the oracle's own, without a rotation."""

    def fit(self, x: Any, y: Any = None) -> Scaled:
        self.mean_, self.deviation_ = x.mean(axis=0), x.std(axis=0)
        self.unit_ = max(x.shape) ** 0.5
        return self

    def transform(self, x: Any) -> Any:
        return (x - self.mean_) / self.deviation_ / self.unit_


def asked(seed: int, width: int, task: Task) -> tuple[Tensor, Tensor, Split, tuple[Tensor, ...]]:
    """Features (100, width) on very different scales, labels that they tell a little of, a split and folds."""
    generator = torch.Generator().manual_seed(seed)
    strata = torch.arange(N) % 3
    values = torch.randn((N, width), generator=generator) + 0.5 * strata[:, None]
    labels: Tensor = strata
    if task == "numbers":
        labels = values[:, 0].double() + torch.rand(N, generator=generator).double()
    elif task == "several":
        labels = (values[:, :2] + torch.randn((N, 2), generator=generator) > 0).float()
    split = make_split(strata, ["a", "b", "c"], seed=seed)
    return values * 10 ** torch.linspace(-2, 2, width), labels, split, inner_folds(split, strata, None, seed)


def grid_of(name: str, task: Task) -> tuple[Any, list[dict[str, Any]]]:
    if name == "logistic":
        return LogisticRegression(solver="newton-cg", tol=1e-8, max_iter=1000), [{"C": c} for c in CS]
    if name == "ridge":
        return (Ridge if task == "numbers" else RidgeClassifier)(solver="svd"), [{"alpha": alpha} for alpha in ALPHAS]
    model = KNeighborsRegressor if task == "numbers" else KNeighborsClassifier
    return model(algorithm="brute"), [{"n_neighbors": k, "metric": metric} for k in NEIGHBOURS for metric in METRICS]


@pytest.mark.parametrize("width", [8, 140])
@pytest.mark.parametrize(("name", "task"), [(one, "classes") for one in ("ridge", "logistic", "knn")] + [("ridge", "numbers")])
def test_the_setting_and_the_fit_are_those_of_scikit_learns_search(name: str, task: Task, width: int) -> None:
    for seed in range(3):
        values, labels, split, folds = asked(seed, width, task)
        examples = Examples(values, split, folds=folds)
        found = CLASSIFIERS[name].fit(examples, labels, 3, Setup(task=task))
        learned = torch.cat([split.train, split.validation]).sort().values.numpy()
        of_fold = np.empty(N, np.int64)
        for number, rows in enumerate(folds):
            of_fold[rows.numpy()] = number
        x, y = values.double().numpy(), labels.numpy()
        model, grid = grid_of(name, task)
        pipe = Pipeline([("scaled", Scaled()), ("model", model)])
        wanted = [{f"model__{key}": [value] for key, value in one.items()} for one in grid]
        scoring = "accuracy" if task == "classes" else "neg_mean_squared_error"
        search = GridSearchCV(pipe, wanted, cv=PredefinedSplit(of_fold[learned]), scoring=scoring).fit(x[learned], y[learned])
        sizes = np.bincount(of_fold[learned])
        each = np.stack([search.cv_results_[f"split{k}_test_score"] for k in range(len(folds))])
        pooled = sizes @ each / sizes.sum()  # rows count alike, where scikit-learn counts folds alike
        if task == "numbers":
            pooled = 1 + pooled / y[learned].var()
        (run,) = found.runs
        assert run.validation_accuracy == pytest.approx(pooled.max(), abs=1e-9)
        chosen = grid[int(np.argmax(np.isclose(pooled, pooled.max(), rtol=0, atol=1e-9)))]
        assert [*run.setting.values()] == [*chosen.values()]
        best = pipe.set_params(**{f"model__{key}": value for key, value in chosen.items()}).fit(x[learned], y[learned])
        predicted = best.predict(x[split.test.numpy()])
        np.testing.assert_allclose(found.predictions[0].numpy(), predicted, atol=1e-6)
        torch.testing.assert_close(found.predict(values[split.test]), found.predictions)


@pytest.mark.parametrize("name", ["ridge", "logistic", "knn"])
@given(seed=st.integers(0, 99), factor=st.sampled_from([0.0, -3.0, 1e6]))
@settings(max_examples=5)
def test_other_test_rows_change_neither_setting_nor_fit(name: str, seed: int, factor: float) -> None:
    values, labels, split, folds = asked(seed, 12, "classes")
    others, relabelled = values.clone(), labels.clone()
    others[split.test] *= factor
    relabelled[split.test] = (relabelled[split.test] + 1) % 3
    found = CLASSIFIERS[name].fit(Examples(values, split, folds=folds), labels, 3)
    again = CLASSIFIERS[name].fit(Examples(others, split, folds=folds), relabelled, 3)
    (one,), (two,) = found.runs, again.runs
    assert (one.setting, one.validation_accuracy) == (two.setting, two.validation_accuracy)
    torch.testing.assert_close(found.predict(values), again.predict(values))


def test_standardisation_is_learned_inside_each_fold() -> None:
    values, _, split, folds = asked(0, 6, "classes")
    for held, (inner, x) in zip(folds, Examples(values, split, folds=folds).folded(), strict=True):
        assert not set(held.tolist()) & set(inner.train.tolist())
        np.testing.assert_allclose(x.train.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose((x.train**2).sum(axis=0), 1, atol=1e-12)  # over the root of the number of train rows
        assert abs(x.validation.mean(axis=0)).max() > 1e-6


@pytest.mark.usefixtures("own_registry")
def test_a_classifier_of_ones_own_chooses_by_folds_too() -> None:
    def grid() -> Iterator[Any]:
        yield from (RidgeClassifier(alpha=alpha) for alpha in ALPHAS)

    lora_perf.classifier("mine")(grid)
    values, labels, split, folds = asked(2, 12, "classes")
    examples = Examples(values, split, folds=folds)
    own, ridge = (CLASSIFIERS[name].fit(examples, labels, 3) for name in ("mine", "ridge"))
    assert own.runs[0].setting == ridge.runs[0].setting
    torch.testing.assert_close(own.predictions, ridge.predictions)


@pytest.mark.parametrize(("name", "task"), [(name, task) for name in READERS for task in CLASSIFIERS[name].targets])
def test_permutations_choose_by_folds_as_probes_do(name: str, task: Task) -> None:
    values, labels, split, folds = asked(5, 6, task)
    examples = Examples(values, split, folds=folds)
    outputs = 3 if task == "classes" else 2
    wanted = alone(name, examples, labels, outputs, task, 3)
    found = permuted(name, examples, labels, outputs, task, 0.9, COUNT, 3)
    answers = COUNT * len(split.test)
    assert found.mean == pytest.approx(np.mean(wanted), abs=2 / answers if task == "classes" else 1e-6)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ridge", "knn"])
def test_of_labels_that_mean_nothing_p_is_below_a_level_that_often(name: str) -> None:
    rng, ps = np.random.default_rng(0), []
    for seed in range(150):
        labels = torch.from_numpy(rng.permutation(np.arange(60) % 3))
        values = torch.from_numpy(rng.normal(size=(60, 4))).float()
        split = make_split(labels, ["a", "b", "c"], seed=seed)
        examples = Examples(values, split, folds=inner_folds(split, labels, None, seed))
        learnt = CLASSIFIERS[name].fit(examples, labels, 3)
        score = float((learnt.predictions[0] == labels[split.test]).double().mean())
        ps.append(permuted(name, examples, labels, 3, "classes", score, 99, seed).p)
    for level in (0.05, 0.2):
        assert np.mean(np.array(ps) <= level) < level + 3 * (level * (1 - level) / len(ps)) ** 0.5
