"""Networks of all seeds trained as one program: every weight has the seeds as its first axis, and so has every step.

Axes: s seeds, b rows of a batch, n rows, c classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.epochs import batches
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.classifiers.protocol import Examples, Fitted, Run, Setup
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.ambient import with_threads

_ROWS = 512  # evaluated at a time
_CURVES = ("train_loss", "validation_loss", "validation_accuracy", "lr")
Weights = dict[str, Tensor]
Inputs = tuple[Tensor, ...]  # what a network reads of rows, (n, ...) each


class Network(Protocol):
    """What is trained, for any number of seeds."""

    def drawn(self, generator: Generator) -> Weights:
        """The weights of one seed."""

    def masks(self, rows: int) -> tuple[tuple[int, ...], ...]:
        """The shapes (b, ...) of the masks of dropout that one seed needs for so many rows."""

    def forward(self, weights: Weights, inputs: Inputs, keep: Inputs | None) -> Tensor:
        """Logits (s, b, c) of inputs (s, b, ...), with masks (s, b, ...) or without dropout."""


class OfSeeds:
    """A classifier of `learnt`: what is the same for all of them."""

    seeded = True
    by_epochs = True
    targets: tuple[str, ...] = ("classes",)
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It takes any number of rows and features."""


@dataclass
class _Best:
    """The epoch of a seed that was best on the validation rows."""

    accuracy: float = -1.0
    epoch: int = 0


def learnt(
    network: Network,
    inputs_of: Callable[[Tensor], Inputs],
    examples: Examples,
    labels: Tensor,
    setup: Setup,
    standardiser: Standardiser,
    note: str = "",
) -> Fitted:
    """Trains a network for each seed and answers the test rows by its best epoch.

    Adam with the recipe's rate, decay, batches and patience, without its plateaus. A run is a function of its seed: its
    weights, orders and masks are its own.

    Shapes: inputs_of takes features (m, f).
    """
    begin, split, device = time.perf_counter(), examples.split, torch.device(setup.device)
    inputs = inputs_of(torch.as_tensor(examples.values.index_select(0, torch.arange(len(examples.values)))))
    stack = _Stack(network, inputs, labels.to(device), split.train.to(device), split.validation.to(device), setup)
    # Products of a batch are small: on a busy machine of two cores one thread took a twentieth of the time of two.
    with with_threads(1 if device.type == "cpu" else None):
        stack.train()
        predictions = stack.predicted([one[split.test.to(device)] for one in inputs])
    seconds = (time.perf_counter() - begin) / len(setup.seeds)
    runs = [
        Run(seed, best.accuracy, best.epoch, len(curves["lr"]), seconds, curves)
        for seed, best, curves in zip(setup.seeds, stack.best, stack.curves, strict=True)
    ]
    answers = (lambda values: stack.predicted(inputs_of(values))) if setup.keep else None
    return Fitted(predictions, tuple(runs), examples.values.shape[1], standardiser.dropped, answers, note)


class _Stack:
    """The networks of some seeds while they train, and the weights of their best epochs after that."""

    def __init__(
        self, network: Network, inputs: Inputs, labels: Tensor, train: Tensor, validation: Tensor, setup: Setup
    ) -> None:
        self._network, self._inputs, self._labels = network, inputs, labels
        self._train, self._validation, self._setup = train, validation, setup
        self._orders = [Generator().manual_seed(seed) for seed in setup.seeds]
        of_seeds = [network.drawn(one) for one in self._orders]
        self.weights = {name: torch.stack([one[name] for one in of_seeds]).to(labels.device) for name in of_seeds[0]}
        self._kept = {name: one.clone() for name, one in self.weights.items()}
        self.best = [_Best() for _ in setup.seeds]
        self.curves: list[dict[str, list[float]]] = [{name: [] for name in _CURVES} for _ in setup.seeds]

    def train(self) -> None:
        recipe, seeds = self._setup.recipe, self._setup.seeds
        for one in self.weights.values():
            one.requires_grad_()
        optimiser = torch.optim.Adam([*self.weights.values()], recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        validated = [one[self._validation] for one in self._inputs]
        ended = [False] * len(seeds)
        for epoch in range(1, recipe.epochs + 1):
            losses = self._epoch(optimiser, recipe)
            known = self._labels[self._validation]
            with torch.no_grad():
                logits = self._logits(self.weights, validated)
                logs = torch.log_softmax(logits, dim=2).gather(2, known[:, None].expand(len(logits), -1, 1))
                right = (logits.argmax(dim=2) == known).double().mean(dim=1)
            for k, (accuracy, lost) in enumerate(zip(right.tolist(), (-logs).mean(dim=(1, 2)).tolist(), strict=True)):
                if ended[k]:
                    continue
                for name, value in zip(_CURVES, (losses[k], lost, accuracy, recipe.lr), strict=True):
                    self.curves[k][name].append(value)
                if self._setup.progress is not None:
                    self._setup.progress(seeds[k], epoch, accuracy)
                if accuracy > self.best[k].accuracy:
                    self.best[k] = _Best(accuracy, epoch)
                    for name, one in self._kept.items():
                        one[k] = self.weights[name][k].detach()
                ended[k] = epoch - self.best[k].epoch >= recipe.patience
            if all(ended):
                break

    def _epoch(self, optimiser: torch.optim.Optimizer, recipe: TrainingConfig) -> list[float]:
        """One epoch of all seeds, each in its own order with its own masks; the mean losses of the rows."""
        n, device = len(self._train), self._labels.device
        rows = torch.stack([torch.randperm(n, generator=one) for one in self._orders]).to(device)
        total = torch.zeros(len(rows), device=device)
        for start, stop in batches(n, recipe.batch_size):
            chosen = self._train[rows[:, start:stop]]
            inputs = tuple(one[chosen] for one in self._inputs)
            logits = self._network.forward(self.weights, inputs, self._masks(chosen.shape[1], recipe.dropout))
            losses = F.cross_entropy(logits.transpose(1, 2), self._labels[chosen], reduction="none").mean(dim=1)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            total += losses.detach() * (stop - start)
        found: list[float] = (total / n).tolist()
        return found

    def _masks(self, b: int, rate: float) -> Inputs | None:
        if rate == 0:
            return None
        return tuple(
            torch.stack([(torch.rand(shape, generator=one) >= rate) / (1 - rate) for one in self._orders]).to(
                self._labels.device
            )
            for shape in self._network.masks(b)
        )

    def _logits(self, weights: Weights, inputs: Sequence[Tensor]) -> Tensor:
        """(s, m, c) of rows, of which the network reads (m, ...) each."""
        parts = zip(*(one.split(_ROWS) for one in inputs), strict=True)
        return torch.cat([self._of_part(weights, part) for part in parts], dim=1)

    def _of_part(self, weights: Weights, part: Sequence[Tensor]) -> Tensor:
        every = tuple(one.expand(len(self.best), *one.shape) for one in part)
        return self._network.forward(weights, every, None)

    def predicted(self, inputs: Sequence[Tensor]) -> Tensor:
        """(s, m) by the best epochs."""
        with torch.no_grad():
            return self._logits(self._kept, inputs).argmax(dim=2).cpu()
