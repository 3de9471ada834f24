"""Training: one run, ten seeds of one cell, each on a core of its own or as one stack, and one run on features in a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from benchmarks import baselines, corpora, surface
from benchmarks.table import Baseline, Case, workload

_ADAPTERS, _FEATURES, _CLASSES = 1_000, 1_000, 10
_EPOCHS, _BATCH = 5, 64
# Hidden width, and distance of a class from the centre in deviations of a feature. The width of the recipe, and a small
# one where only the machinery is tried; the signal is such that five epochs reach 0.9 and more, which chance (0.1) does not.
_HIDDEN = {"small": 128, "medium": 512}
_SIGNAL = {"small": 0.25, "medium": 0.15}
# What stays in its file: more than the package would copy into memory and keep there (64 MiB), 99,648 features of each adapter.
_STORED = {"small": 192, "medium": 1_000}
_FEW, _NARROW, _GROUPS = 2, 16, 4  # epochs, units of a hidden layer, classes


def _data(signal: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a planted class signal, of very different scales, and their labels."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(_ADAPTERS) % _CLASSES)
    centres = rng.standard_normal((_CLASSES, _FEATURES)) * signal
    values = (rng.standard_normal((_ADAPTERS, _FEATURES)) + centres[labels]) * 10 ** rng.uniform(-2, 2, _FEATURES)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


def _case(scale: str, runs: int, *, stacked: bool = False) -> Case:
    values, labels = _data(_SIGNAL[scale])
    split = surface.make_split(labels, [str(c) for c in range(_CLASSES)], method="stratified")
    seeds = list(range(42, 42 + runs))
    config = surface.TrainingConfig(hidden=_HIDDEN[scale], epochs=_EPOCHS, patience=_EPOCHS + 1)
    # Commits that cannot stack on a CPU can do the rest.
    training = partial(surface.train, stacked=True) if stacked else surface.train
    truth = labels[split.test]
    validation = len(split.validation)

    def check(found: Any) -> None:
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
        call=lambda: training(values, labels, split, _CLASSES, seeds, config),
        check=check,
        nbytes=runs * _EPOCHS * len(split.train) * values[0].nbytes,
        baselines={"DataLoader": loop},
        limit=lambda: products_and_adam(runs, len(split.train), (_FEATURES, config.hidden, _CLASSES)),
        adapters=_ADAPTERS,
    )


def products_and_adam(runs: int, rows: int, sizes: tuple[int, int, int], epochs: int = _EPOCHS) -> int:
    """The least that training is: the matrix products of forward and backward, and one fused Adam step a batch.

    Each run has one thread, as many runs at a time as PyTorch has threads. Nothing is learnt: what lies between the
    products (batch norm, dropout, loss, the choice of rows) is left out. Returns the number of batches.

    Shapes: sizes (f, h, c) of three hidden layers.
    """
    threads = torch.get_num_threads()

    def one(seed: int) -> int:
        torch.set_num_threads(1)
        return _least_run(seed, rows, sizes, epochs)

    try:
        with ThreadPoolExecutor(min(threads, runs)) as lanes:
            return sum(lanes.map(one, range(runs)))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _least_run(seed: int, rows: int, sizes: tuple[int, int, int], epochs: int) -> int:
    f, h, c = sizes
    generator = torch.Generator().manual_seed(seed)
    shapes = [(h, f), (h, h), (h, h), (c, h)]
    counts = [out * k for out, k in shapes]
    parameter = torch.randn(sum(counts), generator=generator).mul_(0.01).requires_grad_()
    parameter.grad = torch.zeros_like(parameter)
    optimiser = torch.optim.Adam([parameter], 1e-3, weight_decay=1e-4, fused=True)

    def pieces(flat: torch.Tensor) -> list[torch.Tensor]:
        return [part.view(shape) for part, shape in zip(flat.split(counts), shapes, strict=True)]

    weights, gradients = pieces(parameter.detach()), pieces(parameter.grad)
    # What the products read is as wide as in training and always the same; what they write is written over.
    inputs = [torch.randn(min(_BATCH, rows), k, generator=generator) for _, k in shapes]
    errors = [torch.randn(min(_BATCH, rows), out, generator=generator) for out, _ in shapes]
    forward, backward = [torch.empty_like(one) for one in errors], [torch.empty_like(one) for one in inputs]
    batches = [min(_BATCH, rows - start) for start in range(0, rows, _BATCH)] * epochs
    for m in batches:
        for weight, source, out in zip(weights, inputs, forward, strict=True):
            torch.mm(source[:m], weight.T, out=out[:m])
        for layer in reversed(range(len(shapes))):
            torch.mm(errors[layer][:m].T, inputs[layer][:m], out=gradients[layer])
            if layer:  # nothing asks for the gradient of the features
                torch.mm(errors[layer][:m], weights[layer], out=backward[layer][:m])
        optimiser.step()
    return len(batches)


def _check_accuracy(found: NDArray[np.float64]) -> None:
    """Chance is 0.1. The two programs are one recipe with other random numbers, so they reach the same accuracy, not bits."""
    assert np.all(found > 0.8), found
    assert np.all(found <= 1), found


@workload("training", "small", "medium", baselines=("DataLoader",), limit=True)
def train_one_run(scale: str) -> Case:
    """One seed, five epochs."""
    return _case(scale, 1)


@workload("training", "small", "medium", baselines=("DataLoader",), limit=True)
def train_ten_runs(scale: str) -> Case:
    """Ten seeds, five epochs each."""
    return _case(scale, 10)


@workload("training", "small", "medium", baselines=("DataLoader",), limit=True)
def train_stacked_runs(scale: str) -> Case:
    """Ten seeds, five epochs each, as one stack. GPUs train so; here its calls are counted, which must not grow with seeds."""
    return _case(scale, 10, stacked=True)


@workload("training", "small", "medium", baselines=("DataLoader",))
def train_stored(scale: str) -> Case:
    """One seed, two epochs, on the rows of a packed file that are read as they are used."""
    zoo = lora_perf.load(corpora.path("packed", _STORED[scale]))
    labels = torch.arange(len(zoo)) % _GROUPS
    split = surface.make_split(labels, [str(c) for c in range(_GROUPS)], method="stratified")
    config = surface.TrainingConfig(hidden=_NARROW, epochs=_FEW, patience=_FEW + 1, amp=False)
    values = surface.StoredValues(zoo.source)
    known = surface.train(zoo.rows, labels, split, _GROUPS, [42], config)

    def check(found: Any) -> None:
        """The same bits as of the same values in memory."""
        assert torch.equal(found.logits, known.logits)
        assert torch.equal(found.predictions, known.predictions)
        assert len(found.dropped) == 0
        for name in ("seeds", "validation_accuracy", "best_epoch", "epochs_run", "curves"):
            assert getattr(found, name) == getattr(known, name), name

    def check_loop(found: Any) -> None:
        """Classes mean nothing here: of four, as many are guessed as chance allows."""
        assert found.shape == (1,)
        np.testing.assert_allclose(found * len(split.test), np.round(found * len(split.test)), atol=1e-6)
        assert 0 <= found[0] < 0.7, found

    parts = (split.train, split.validation, split.test)
    loop = Baseline(
        lambda: baselines.train_by_loop(zoo.rows, labels, parts, [42], epochs=_FEW, hidden=_NARROW),
        check_loop,
    )
    return Case(
        call=lambda: surface.train(values, labels, split, _GROUPS, [42], config),
        check=check,
        nbytes=_FEW * 4 * zoo.layout.p * len(split.train),
        baselines={"DataLoader": loop},
        adapters=len(zoo),
    )
