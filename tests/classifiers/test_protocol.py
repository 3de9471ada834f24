"""What holds for every classifier of the package, whatever it is."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, fitted, seeds_of
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split
from tests.classifiers.problems import problem

SETUP = Setup((3, 4), TrainingConfig(hidden=16, epochs=3))
NAMES = [name for name, one in CLASSIFIERS.items() if "classes" in one.targets]


def _examples(values: torch.Tensor, split: Split) -> Examples:
    """Examples whose columns came from layers of three each."""
    return Examples(values, split, torch.arange(values.shape[1]) // 3)


def test_the_registry_holds_those_of_the_package_the_default_first() -> None:
    assert [*CLASSIFIERS] == ["mlp", "ridge", "logistic", "knn", "retrieval", "w2t", "glnet", "dsire"]
    assert all((one.name, one.version) == (name, "") for name, one in CLASSIFIERS.items())
    assert [name for name, one in CLASSIFIERS.items() if one.seeded] == ["mlp", "w2t", "glnet"]
    with pytest.raises(LoraPerfError, match=r"a classifier \(mlp, ridge, logistic, knn.*found 'forest'"):
        CLASSIFIERS.named("forest")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("f", [12, 300])
def test_further_rows_are_answered_as_the_test_rows_were(name: str, f: int) -> None:
    values, labels, split = problem(f, signal=2)
    found = CLASSIFIERS[name].fit(_examples(values, split), labels, 3, SETUP)
    assert [run.seed for run in found.runs] == seeds_of(CLASSIFIERS[name], SETUP.seeds)
    assert (found.predictions.dtype, found.dropped.tolist()) == (torch.int64, [f - 2, f - 1])
    torch.testing.assert_close(found.predict(values[split.test]), found.predictions)
    assert found.predict(values).shape == (len(found.runs), len(values))
    assert found.predict(values[:0]).shape == (len(found.runs), 0)
    with pytest.raises(LoraPerfError, match=rf"rows of {f} features, as were learnt from; found shape \(90, {f - 1}\)"):
        found.predict(values[:, 1:])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_where_nothing_is_kept(name: str) -> None:
    values, labels, split = problem(12)
    found = CLASSIFIERS[name].fit(_examples(values, split), labels, 3, Setup((3,), SETUP.recipe, keep=False))
    with pytest.raises(LoraPerfError, match="found one fitted with keep=False; fit it with keep=True"):
        found.predict(values)


@pytest.mark.parametrize("name", NAMES)
def test_the_commonest_class_stands_in_where_all_features_are_constant(name: str) -> None:
    values, labels, split = problem(12)
    labels[split.train[:20]] = 2
    found = fitted(CLASSIFIERS[name], _examples(values * 0 + 1, split), labels, 3, SETUP)
    assert found.predictions.tolist() == [[2] * len(split.test)] * len(found.runs)
    assert found.dropped.tolist() == list(range(12))
    assert found.note == "no information: constant"
    assert found.runs[0].validation_accuracy == float((labels[split.validation] == 2).double().mean())
    assert found.predict(values).unique().tolist() == [2]


@pytest.mark.parametrize("name", ["protocol", "door"])
@pytest.mark.usefixtures("own_registry")
def test_examples_of_the_docstrings(name: str) -> None:
    failed, tried = doctest.testmod(import_module(f"lora_perf.classifiers.{name}"))
    assert (failed, tried > 2) == (0, True)
