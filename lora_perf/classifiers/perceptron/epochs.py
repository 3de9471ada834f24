"""The epochs of one stack of runs: batches in the order of each run, one step of all runs after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.network import Masks, Perceptron, effective_rate
from lora_perf.classifiers.perceptron.recipe import TrainingConfig


@dataclass(frozen=True, eq=False)
class Task:
    """What the runs of one cell share: features and labels on the device, and the rows of each part.

    Attributes:
        values: (n, f), not standardised.
        mean, inverse: (f,) subtracted from and multiplied with each row as it is used.
    """

    values: Tensor
    mean: Tensor
    inverse: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    n_classes: int

    def standardised(self, rows: Tensor) -> Tensor:
        """Rows (m,) of the features, standardised: (m, f)."""
        return self.values.index_select(0, rows).sub_(self.mean).mul_(self.inverse)


def batches(n: int, size: int) -> list[tuple[int, int]]:
    """First and last + 1 of each batch; a last batch of one sample joins the one before, as batch norm needs two."""
    starts = list(range(0, n, size))
    if len(starts) > 1 and n % size == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


class Epochs:
    """The epochs of a stack, for as long as its runs and their learning rates stay: buffers, and on CUDA graphs of its steps.

    A narrow network's step is some ninety launches that cost more than their kernels; replayed as graphs of sixteen steps
    they cost one. Each step is the same on every device, and so are its numbers with and without a graph.

    Args:
        generators: of the order of the rows, on the CPU, and of the masks, for each run.
    """

    def __init__(
        self,
        net: Perceptron,
        generators: Sequence[tuple[Generator, Generator]],
        optimiser: torch.optim.Optimizer,
        task: Task,
        config: TrainingConfig,
        dtype: torch.dtype,
    ) -> None:
        self._net, self._optimiser, self._task, self._dtype = net, optimiser, task, dtype
        self._orders, dropouts = zip(*generators, strict=True)
        device = task.values.device
        self._steps = batches(len(task.train), config.batch_size)
        sizes = [stop - start for start, stop in self._steps]
        self._masks = Masks(dropouts, config.dropout, config.layers, config.hidden, sizes, dtype)
        self._kept = 1 - effective_rate(config.dropout)
        self._losses = torch.zeros(len(net), dtype=task.values.dtype, device=device)
        self._minus = self._losses.new_tensor(-1.0)
        self._graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}
        span = max(sizes) * self._masks.steps
        self._rows = torch.zeros((len(net), span), dtype=torch.int64, device=device)

    def __call__(self, *, captured: bool = False) -> Tensor:
        """One epoch of all runs of the stack; returns the sums (s,) of the losses.

        Args:
            captured: run the steps as graphs, which needs a CUDA device and a first epoch without.
        """
        task = self._task
        order = torch.stack([torch.randperm(len(task.train), generator=one) for one in self._orders])
        rows = task.train[order.to(task.values.device)]
        self._losses.zero_()
        chunk = self._masks.steps
        for index in range(0, len(self._steps), chunk):
            steps = self._steps[index : index + chunk]
            begin, end = steps[0][0], steps[-1][1]
            places = [(start - begin, stop - begin) for start, stop in steps]
            self._masks.draw()
            if captured:
                self._rows[:, : end - begin].copy_(rows[:, begin:end])
                self._graph(places).replay()
            else:
                self._take(rows[:, begin:end], places)
        return self._losses

    def _graph(self, places: list[tuple[int, int]]) -> torch.cuda.CUDAGraph:
        sizes = tuple(stop - start for start, stop in places)
        if sizes not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._take(self._rows, places)
            self._graphs[sizes] = graph
        return self._graphs[sizes]

    def _take(self, rows: Tensor, places: list[tuple[int, int]]) -> None:
        """Some steps: those rows (s, ...) of the features between a first and a last place each."""
        net, task, dtype, losses = self._net, self._task, self._dtype, self._losses
        targets = task.labels[rows].unsqueeze(2)
        for place, (start, stop) in enumerate(places):
            s, m = len(losses), stop - start
            x = task.standardised(rows[:, start:stop].reshape(-1)).view(s, m, -1).to(dtype)
            target = targets[:, start:stop]
            logs = torch.log_softmax(net.forward(x, self._masks.of(place, m)), dim=2, dtype=losses.dtype)
            losses.sub_(logs.gather(2, target).sum(dim=(1, 2)))
            # The gradient of the mean cross entropy: probabilities less the one-hot targets.
            gradient = logs.exp_().scatter_add_(2, target, self._minus.expand(s, m, 1)).div_(m)
            net.backward(gradient.to(dtype), self._kept)
            self._optimiser.step()
