"""What holds for every classifier whose seeds are trained as one program."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from tests.classifiers.problems import problem
from tests.classifiers.test_glnet import examples, task

RECIPE = TrainingConfig(epochs=12, patience=12, dropout=0.1, batch_size=16)
Made = Callable[[float], tuple[Examples, Tensor, Tensor]]


def of_layers(signal: float) -> tuple[Examples, Tensor, Tensor]:
    """Columns of three layers: examples, their values, labels."""
    values, labels, split = problem(12, signal=signal)
    return Examples(values, split, torch.arange(12) // 4), values, labels


def of_factors(signal: float) -> tuple[Examples, Tensor, Tensor]:
    """Columns that hold factors."""
    values, labels, split = task(signal)
    return examples(values, split), values, labels


every = pytest.mark.parametrize(("name", "made"), [("w2t", of_layers), ("glnet", of_factors)])


@every
def test_a_run_is_that_of_its_seed_alone(name: str, made: Made) -> None:
    given, _, labels = made(0.5)
    several = CLASSIFIERS[name].fit(given, labels, 3, Setup((3, 4, 5), RECIPE))
    alone = CLASSIFIERS[name].fit(given, labels, 3, Setup((4,), RECIPE))
    torch.testing.assert_close(several.runs[1].curves["train_loss"], alone.runs[0].curves["train_loss"], rtol=1e-3, atol=1e-4)
    assert several.runs[0].curves["train_loss"] != several.runs[1].curves["train_loss"]
    assert [run.seed for run in several.runs] == [3, 4, 5]


@every
def test_the_best_epoch_is_kept_and_patience_ends_a_run(name: str, made: Made) -> None:
    given, values, labels = made(0.3)
    split, recipe = given.split, TrainingConfig(epochs=40, patience=3, batch_size=16)
    found = CLASSIFIERS[name].fit(given, labels, 3, Setup((1, 2), recipe))
    for k, run in enumerate(found.runs):
        reached = run.curves["validation_accuracy"]
        assert run.validation_accuracy == max(reached) == reached[run.best_epoch - 1]
        assert run.epochs == len(reached) == min(40, run.best_epoch + 3)
        told = found.predict(values[split.validation])[k]
        assert float((told == labels[split.validation]).double().mean()) == run.validation_accuracy


@every
def test_the_labels_of_test_rows_are_never_looked_at(name: str, made: Made) -> None:
    given, _, labels = made(0.5)
    others = labels.clone()
    others[given.split.test] = 0
    found, again = (CLASSIFIERS[name].fit(given, one, 3, Setup((1,), RECIPE)) for one in (labels, others))
    assert torch.equal(found.predictions, again.predictions)
