"""Perceptrons on values that stay in a file, with products in bfloat16, and with little memory: the same runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lora_perf.classifiers.perceptron import epochs, network, recipe, runs
from lora_perf.classifiers.perceptron.recipe import TrainingConfig, product_type
from lora_perf.classifiers.perceptron.runs import TrainedRuns, train
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import FloatRows, RowSource
from lora_perf.core.stored import StoredValues
from tests.classifiers.problems import problem

CONFIG = TrainingConfig(hidden=24, epochs=4, batch_size=7, patience=9)


class Read(RowSource):
    def __init__(self, rows: FloatRows) -> None:
        self.n, self.p = rows.shape
        self._rows = rows

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        out[:] = self._rows[start:stop]


def _train(f: int, config: TrainingConfig, *, stored: bool = False, seeds: tuple[int, ...] = (1, 2, 3), keep: bool = False):
    values, labels, split = problem(f)
    matrix = StoredValues(Read(values.numpy())) if stored else values
    return train(matrix, labels, split, 3, seeds, config, keep=keep)


def _same(a: TrainedRuns, b: TrainedRuns) -> None:
    assert torch.equal(a.logits, b.logits)
    assert a.curves == b.curves
    assert torch.equal(a.dropped, b.dropped)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("ready", [False, True])
def test_stored_values_train_as_the_tensor_does(amp: bool, ready: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "bfloat16_units", lambda: amp)
    monkeypatch.setattr(recipe, "_WIDE_ENOUGH", 0)
    usual = _train(12, CONFIG)
    if not ready:
        monkeypatch.setattr(epochs, "STORED_NBYTES", 0)
        monkeypatch.setattr(epochs, "READY_SHARE", 0)
    _same(_train(12, CONFIG, stored=True), usual)
    _same(_train(12, CONFIG), usual)


def test_what_was_learnt_from_stored_values_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "STORED_NBYTES", 0)
    values, _, split = problem(12)
    found = _train(12, CONFIG, stored=True, keep=True)
    assert found.answers is not None
    assert torch.equal(found.answers(values[split.test]), found.predictions)


def test_a_read_that_fails_ends_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "STORED_NBYTES", 0)
    values, labels, split = problem(12)
    matrix = StoredValues(Read(values.numpy()))
    calls = 0

    def read(start: int, stop: int, out: FloatRows) -> None:
        nonlocal calls
        calls += 1
        if calls > 300:
            raise LoraPerfError(expected="rows", found="the end of the file", fix="pack the zoo again")
        out[:] = values.numpy()[start:stop]

    monkeypatch.setattr(matrix.source, "read", read)
    with pytest.raises(LoraPerfError, match="the end of the file"):
        train(matrix, labels, split, 3, (1, 2), CONFIG)


@pytest.mark.parametrize("amp", [False, True])
def test_a_wide_first_layer_learns_as_a_narrow_one(amp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of some rows add in another order: the same up to rounding, in float64 nearly the same."""
    monkeypatch.setattr(recipe, "bfloat16_units", lambda: amp)
    monkeypatch.setattr(recipe, "_WIDE_ENOUGH", 0)
    whole = _train(12, CONFIG, seeds=(1,))
    monkeypatch.setattr(network, "_TILED", 0)
    tiled = _train(12, CONFIG, seeds=(1,))
    torch.testing.assert_close(tiled.logits, whole.logits, rtol=0.1, atol=0.2 if amp else 1e-3)
    values, labels, split = problem(12)
    exact = train(values.double(), labels, split, 3, (1,), CONFIG, stacked=True)
    monkeypatch.setattr(network, "_TILED", 1 << 30)
    torch.testing.assert_close(train(values.double(), labels, split, 3, (1,), CONFIG, stacked=True).logits, exact.logits)


def test_bfloat16_is_for_processors_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, wide = torch.device("cpu"), TrainingConfig(hidden=512)
    for units, config, values, expected in (
        (True, wide, torch.float32, torch.bfloat16),
        (False, wide, torch.float32, torch.float32),
        (True, replace(wide, amp=False), torch.float32, torch.float32),
        (True, replace(wide, hidden=128), torch.float32, torch.float32),
        (True, wide, torch.float64, torch.float64),
    ):
        monkeypatch.setattr(recipe, "bfloat16_units", lambda units=units: units)
        assert product_type(config, cpu, values) == expected
    monkeypatch.setattr(recipe, "bfloat16_units", lambda: False)
    assert product_type(wide, torch.device("cuda")) == torch.bfloat16


def test_runs_beside_each_other_are_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = _train(12, CONFIG)
    one = network.run_nbytes((10, CONFIG.hidden, 3), CONFIG.layers)
    monkeypatch.setattr(runs, "_SMALL", 0)
    monkeypatch.setattr(runs, "memory_left", lambda: one)
    _same(_train(12, CONFIG), usual)
    monkeypatch.setattr(runs, "memory_left", lambda: one - 1)
    with pytest.raises(LoraPerfError, match=r"memory for a perceptron of 10 features.*--layer-groups"):
        _train(12, CONFIG)


def test_a_stack_that_does_not_fit_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, split = problem(12)
    usual = train(values, labels, split, 3, range(5), CONFIG, stacked=True)
    sizes: list[int] = []
    train_stack = runs.train_stack

    def small(task, seeds, *others):
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_stack(task, seeds, *others)

    monkeypatch.setattr(runs, "train_stack", small)
    halved = train(values, labels, split, 3, range(5), CONFIG, stacked=True)
    assert sizes == [5, 3, 2, 1, 2]
    assert halved.seeds == usual.seeds
    torch.testing.assert_close(halved.logits, usual.logits, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(runs, "train_stack", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(LoraPerfError, match="memory of the GPU for a perceptron of 10 features"):
        train(values, labels, split, 3, range(5), CONFIG, stacked=True)


def test_a_wide_run_that_stays_alone_in_a_stack_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a stack end at different epochs; the last one is not turned into one that is updated by tiles."""
    config = replace(CONFIG, epochs=30, patience=1)
    values, labels, split = problem(12, signal=0.3)
    usual = train(values, labels, split, 3, range(8), config, stacked=True)
    assert len(set(usual.epochs_run)) > 1
    monkeypatch.setattr(network, "_TILED", 0)
    _same(train(values, labels, split, 3, range(8), config, stacked=True), usual)
