"""Training: one run, and ten seeds of one cell together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import baselines
from benchmarks.table import Baseline, Case, workload

if TYPE_CHECKING:
    from lora_perf.classifier import TrainedRuns

_ADAPTERS, _FEATURES, _CLASSES = 1_000, 1_000, 10
_EPOCHS = 5
# Hidden width, and distance of a class from the centre in deviations of a feature. The width of the recipe, and a small
# one where only the machinery is tried; the signal is such that five epochs reach 0.9 and more, which chance (0.1) does not.
_HIDDEN = {"small": 128, "medium": 512}
_SIGNAL = {"small": 0.25, "medium": 0.15}


def _data(signal: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a planted class signal, of very different scales, and their labels."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(_ADAPTERS) % _CLASSES)
    centres = rng.standard_normal((_CLASSES, _FEATURES)) * signal
    values = (rng.standard_normal((_ADAPTERS, _FEATURES)) + centres[labels]) * 10 ** rng.uniform(-2, 2, _FEATURES)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


def _case(scale: str, runs: int) -> Case:
    from lora_perf.classifier import TrainingConfig, train
    from lora_perf.split import make_split

    values, labels = _data(_SIGNAL[scale])
    split = make_split(labels, [str(c) for c in range(_CLASSES)], method="stratified")
    seeds = list(range(42, 42 + runs))
    config = TrainingConfig(hidden=_HIDDEN[scale], epochs=_EPOCHS, patience=_EPOCHS + 1)
    truth = labels[split.test]
    validation = len(split.validation)

    def check(found: TrainedRuns) -> None:
        assert found.seeds == tuple(seeds)
        assert found.logits.shape == (runs, len(truth), _CLASSES)
        assert torch.isfinite(found.logits).all()
        assert torch.equal(found.predictions, found.logits.argmax(dim=2))
        assert len(found.dropped) == 0
        assert found.epochs_run == (_EPOCHS,) * runs
        for one, best, epoch in zip(found.curves, found.validation_accuracy, found.best_epoch, strict=True):
            assert len(one.train_loss) == len(one.validation_accuracy) == _EPOCHS
            assert np.isfinite(one.train_loss).all()
            assert one.train_loss[-1] < 0.8 * one.train_loss[0]
            hits = np.array(one.validation_accuracy) * validation
            np.testing.assert_allclose(hits, hits.round(), atol=1e-6)
            assert best == max(one.validation_accuracy) == one.validation_accuracy[epoch - 1]
            assert epoch == 1 + int(np.argmax(one.validation_accuracy))
            assert one.lr == (config.lr,) * _EPOCHS
        assert len(set(found.logits[:, 0, 0].tolist())) == runs, "seeds gave the same run"
        _check_accuracy((found.predictions == truth).double().mean(dim=1).numpy())

    def check_loop(found: NDArray[np.float64]) -> None:
        assert found.shape == (1,)
        np.testing.assert_allclose(found * len(truth), np.round(found * len(truth)), atol=1e-6)
        _check_accuracy(found)

    parts = (split.train, split.validation, split.test)
    loop = Baseline(
        lambda: baselines.train_by_loop(values, labels, parts, seeds[:1], epochs=_EPOCHS, hidden=config.hidden),
        check_loop,
        1 / runs,
    )
    return Case(
        call=lambda: train(values, labels, split, _CLASSES, seeds, config),
        check=check,
        nbytes=runs * _EPOCHS * len(split.train) * values[0].nbytes,
        baselines={"loop": loop},
        adapters=_ADAPTERS,
    )


def _check_accuracy(found: NDArray[np.float64]) -> None:
    """Chance is 0.1. The two programs are one recipe with other random numbers, so they reach the same accuracy, not bits."""
    assert np.all(found > 0.8), found
    assert np.all(found <= 1), found


@workload("training", "small", "medium", baselines=("loop",))
def train_one_run(scale: str) -> Case:
    """One seed, five epochs."""
    return _case(scale, 1)


@workload("training", "small", "medium", baselines=("loop",))
def train_ten_runs(scale: str) -> Case:
    """Ten seeds, five epochs each."""
    return _case(scale, 10)
