"""The epochs of one stack of runs: batches in the order of each run, one step of all runs after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.network import Masks, Perceptron, effective_rate
from lora_perf.classifiers.perceptron.orders import order
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.core.resources import memory_left
from lora_perf.core.stored import STORED_NBYTES, StoredValues

Goal = Literal["classes", "numbers", "several"]
READY_SHARE = 0.3  # of the memory that is left: the runs need some gigabytes beside it where features are wide
_READY_BLOCK_NBYTES = 16 << 20
_AHEAD, _READERS = 4, 2  # batches, and threads that read them: a disk serves two requests sooner than one after the other


@dataclass(frozen=True, eq=False)
class Task:
    """What the runs of one cell share: features and labels on the device, and the rows of each part.

    Attributes:
        values: (n, f), not standardised.
        mean, inverse: (f,) subtracted from and multiplied with each row as it is used.
        goal: what the labels (n,) or (n, c) are; numbers have one column.
        ready: (n, f) what `batch` gives of all rows, where there is room for it.
    """

    values: Tensor | StoredValues
    mean: Tensor
    inverse: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    n_classes: int
    ready: Tensor | None = None
    goal: Goal = "classes"

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        return self.mean.dtype

    def standardised(self, rows: Tensor) -> Tensor:
        """Rows (m,) of the features, standardised: (m, f)."""
        if isinstance(self.values, StoredValues):
            return self.values.index_select(0, rows.cpu()).to(self.device).sub_(self.mean).mul_(self.inverse)
        return self.values.index_select(0, rows).sub_(self.mean).mul_(self.inverse)

    def batch(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows (m,), standardised, as the products read them: (m, f)."""
        if self.ready is not None and self.ready.dtype == dtype:
            return self.ready.index_select(0, rows)
        return self.standardised(rows).to(dtype)

    def readied(self, dtype: torch.dtype) -> Task:
        """The task with all rows standardised once, in the type of the products, where memory allows: the same numbers.

        Of float32 on a CPU only what is small anyway; on a GPU nothing.
        """
        nbytes = dtype.itemsize * len(self.values) * self.values.shape[1]
        if self.device.type != "cpu" or nbytes > (STORED_NBYTES if dtype == self.dtype else READY_SHARE * memory_left()):
            return self
        ready = torch.empty(self.values.shape, dtype=dtype)
        step = max(1, _READY_BLOCK_NBYTES // (4 * self.values.shape[1]))
        for start in range(0, len(self.values), step):
            rows = slice(start, min(start + step, len(self.values)))
            if dtype == self.dtype:
                torch.sub(self.values[rows], self.mean, out=ready[rows]).mul_(self.inverse)
            else:
                ready[rows] = torch.sub(self.values[rows], self.mean).mul_(self.inverse)
        return replace(self, ready=ready)

    def batches(self, rows: Sequence[Tensor], dtype: torch.dtype) -> Iterator[Tensor]:
        """The batches of some choices of rows, one after the other; of values in a file some are read ahead by a thread."""
        if self.ready is not None or not isinstance(self.values, StoredValues):
            yield from (self.batch(one, dtype) for one in rows)
            return
        with ThreadPoolExecutor(_READERS, "ahead") as reader:  # which ends with the epoch, or with the error that ends it
            waiting = deque(reader.submit(self.batch, one, dtype) for one in rows[:_AHEAD])
            for one in [*rows[_AHEAD:], *[None] * len(waiting)]:
                yield waiting.popleft().result()
                if one is not None:
                    waiting.append(reader.submit(self.batch, one, dtype))


def losses_of(goal: Goal, logits: Tensor, target: Tensor) -> Tensor:
    """(s, m, c) the loss of each output: half the square of numbers, cross entropy of each of several labels."""
    if goal == "numbers":
        return (logits - target).square_().mul_(0.5)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")


def _towards(goal: Goal, logits: Tensor, target: Tensor, losses: Tensor) -> Tensor:
    """The gradient (s, m, c) of the sum of losses over outputs and rows, which are added to `losses` (s,)."""
    losses.add_(losses_of(goal, logits, target).sum(dim=(1, 2)))
    return (logits if goal == "numbers" else logits.sigmoid()) - target


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
        device = task.device
        self._steps = batches(len(task.train), config.batch_size)
        sizes = [stop - start for start, stop in self._steps]
        self._masks = Masks(dropouts, config.dropout, config.layers, config.hidden, sizes, dtype)
        self._shuffle = config.shuffle
        self._kept = 1 - effective_rate(config.dropout)
        self._losses = torch.zeros(len(net), dtype=task.dtype, device=device)
        self._minus = self._losses.new_tensor(-1.0)
        self._graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}
        span = max(sizes) * self._masks.steps
        self._rows = torch.zeros((len(net), span), dtype=torch.int64, device=device)

    def __call__(self, epoch: int, *, captured: bool = False) -> Tensor:
        """One epoch of all runs of the stack, the first is 1; returns the sums (s,) of the losses.

        Args:
            captured: run the steps as graphs, which needs a CUDA device and a first epoch without.
        """
        task = self._task
        orders = torch.stack([order(task.train, one, epoch, self._shuffle) for one in self._orders])
        rows = task.train[orders.to(task.device)]
        self._losses.zero_()
        chunk = self._masks.steps
        feed = None if captured else task.batches([rows[:, start:stop].reshape(-1) for start, stop in self._steps], self._dtype)
        for index in range(0, len(self._steps), chunk):
            steps = self._steps[index : index + chunk]
            begin, end = steps[0][0], steps[-1][1]
            places = [(start - begin, stop - begin) for start, stop in steps]
            self._masks.draw()
            if captured:
                self._rows[:, : end - begin].copy_(rows[:, begin:end])
                self._graph(places).replay()
            else:
                self._take(rows[:, begin:end], places, feed)
        return self._losses

    def _graph(self, places: list[tuple[int, int]]) -> torch.cuda.CUDAGraph:
        sizes = tuple(stop - start for start, stop in places)
        if sizes not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._take(self._rows, places)
            self._graphs[sizes] = graph
        return self._graphs[sizes]

    def _take(self, rows: Tensor, places: list[tuple[int, int]], feed: Iterator[Tensor] | None = None) -> None:
        """Some steps: those rows (s, ...) of the features between a first and a last place each, fed or read here."""
        net, task, dtype, losses = self._net, self._task, self._dtype, self._losses
        targets = task.labels[rows].unsqueeze(2) if task.goal == "classes" else task.labels[rows]
        for place, (start, stop) in enumerate(places):
            s, m = len(losses), stop - start
            x = task.batch(rows[:, start:stop].reshape(-1), dtype) if feed is None else next(feed)
            x = x.view(s, m, -1)
            target = targets[:, start:stop]
            logits = net.forward(x, self._masks.of(place, m))
            if task.goal == "classes":
                logs = torch.log_softmax(logits, dim=2, dtype=losses.dtype)
                losses.sub_(logs.gather(2, target).sum(dim=(1, 2)))
                # The gradient of the mean cross entropy: probabilities less the one-hot targets.
                gradient = logs.exp_().scatter_add_(2, target, self._minus.expand(s, m, 1)).div_(m)
            else:
                gradient = _towards(task.goal, logits.to(losses.dtype), target, losses).div_(m)
            net.backward(gradient.to(dtype), self._kept)
            self._optimiser.step()
