"""The training loop of one stack of runs: epochs, learning rates, early stopping, best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from threading import Event

import torch
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.epochs import Epochs, Task, losses_of
from lora_perf.classifiers.perceptron.first import FirstLayer
from lora_perf.classifiers.perceptron.network import Perceptron
from lora_perf.classifiers.perceptron.recipe import TrainingConfig, product_type

# Of the rows evaluated at once: on a CPU they stay in its cache, on a GPU each block turns all weights to bfloat16 again.
_EVALUATION_NBYTES, _EVALUATION_NBYTES_ON_GPU = 32 << 20, 1 << 30

Progress = Callable[[int, int, float], None]


@dataclass
class Plateau:
    """The learning rate of one run: torch.optim.lr_scheduler.ReduceLROnPlateau in mode max with its default threshold.

    That class sets the rate of an optimiser; the runs of a stack share one, in groups of equal rates.
    """

    lr: float
    factor: float
    patience: int
    best: float = -inf
    bad_epochs: int = 0

    def step(self, value: float) -> None:
        if value > self.best * (1 + 1e-4):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.bad_epochs = 0
            if self.lr - self.lr * self.factor > 1e-8:
                self.lr *= self.factor


@dataclass
class Run:
    """One run: its generators and rows of the stack while it trains, its curves and test logits (n_test, c) after that.

    `net` holds it alone with its best weights, where that was asked for.
    """

    seed: int
    order: Generator
    dropout: Generator
    parameter: Tensor
    plateau: Plateau
    best: list[Tensor] = field(default_factory=list)
    best_epoch: int = 0
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: float = 0.0
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    net: Perceptron | None = None


def train_stack(
    task: Task,
    seeds: Sequence[int],
    config: TrainingConfig,
    stop: Event,
    progress: Progress | None = None,
    keep: bool = False,
) -> list[Run]:
    """Trains the runs of some seeds together; a run that stops early leaves the stack.

    A run is a function of its seed: its weights, order and masks do not depend on the other runs of the stack.

    Cost: an epoch of s runs 6 s n_train flops a weight; on CUDA one synchronisation an epoch.
    """
    device = task.device
    dtype = product_type(config, device, task.dtype)
    with torch.no_grad():  # gradients are written out in Perceptron; the mode belongs to the thread
        orders = [Generator().manual_seed(seed) for seed in seeds]
        sizes = (task.values.shape[1], config.hidden, task.n_classes)
        net = Perceptron.drawn(orders, sizes, config.layers, dtype=task.dtype, device=device)
        runs = [_run(net, k, seed, order, config) for k, (seed, order) in enumerate(zip(seeds, orders, strict=True))]
        active = runs
        on_gpu = device.type == "cuda"
        captured = on_gpu and isinstance(task.values, Tensor)  # a graph reads nothing from a file
        first = FirstLayer(net, runs[0].plateau, config.weight_decay, dtype) if net.tiled else None
        net.first = first
        optimiser = torch.optim.Adam(
            [run.parameter for run in runs], config.lr, weight_decay=config.weight_decay, fused=True, capturable=on_gpu
        )
        epochs: Epochs | None = None
        for epoch in range(1, config.epochs + 1):
            if stop.is_set():
                break
            begin = time.perf_counter()
            if epochs is None:
                epochs = Epochs(net, [(run.order, run.dropout) for run in active], optimiser, task, config, dtype)
            losses = epochs(epoch, captured=captured and epoch > 1)  # the first one loads kernels and makes Adam's moments
            validated = _scores(net, task, task.validation, dtype)
            loss, held, score = torch.stack([losses.double(), *validated]).tolist()  # the synchronisation
            ended = [k for k in range(len(active)) if _close_epoch(net, active, k, epoch, config, score[k])]
            for k, run in enumerate(active):
                run.train_loss.append(loss[k] / len(task.train))
                run.validation_loss.append(held[k] / len(task.validation))
                run.seconds += (time.perf_counter() - begin) / len(active)
                if progress is not None:
                    progress(run.seed, epoch, run.validation_accuracy[-1])
            if ended:
                _finish(net, active, ended, task, keep)
                for k in ended:
                    del optimiser.state[active[k].parameter]
                    active[k].parameter = active[k].parameter.new_empty(0)  # which else keeps the whole stack
                left = [k for k in range(len(active)) if k not in ended]
                if not left:
                    if first is not None:
                        first.release()
                    break
                net, active = net.select(left), [active[k] for k in left]
                for k, run in enumerate(active):
                    _attach(run.parameter, net, k)
            if _regroup(optimiser, active) or ended:
                epochs = None
    return runs


def _run(net: Perceptron, k: int, seed: int, order: Generator, config: TrainingConfig) -> Run:
    # The masks need a stream of their own: on the CPU the same seed would give the bits of the weights again.
    dropout = Generator(net.weights[0].device).manual_seed(int(torch.randint(2**62, (), generator=order)))
    parameter = net.dense(k)
    _attach(parameter, net, k)
    return Run(seed, order, dropout, parameter, Plateau(config.lr, config.plateau_factor, config.plateau_patience))


def _attach(parameter: Tensor, net: Perceptron, k: int) -> None:
    """Makes run k of the stack what the optimiser changes; its moments stay."""
    parameter.data = net.dense(k)
    parameter.grad = net.gradients[k]


def _regroup(optimiser: torch.optim.Optimizer, runs: list[Run]) -> bool:
    """One parameter group per learning rate: a step costs one launch a group. Whether a rate is another one now."""
    before = {id(parameter): group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    groups: dict[float, list[Tensor]] = {}
    for run in runs:
        groups.setdefault(run.plateau.lr, []).append(run.parameter)
    template = optimiser.param_groups[0]
    optimiser.param_groups[:] = [{**template, "lr": lr, "params": parameters} for lr, parameters in groups.items()]
    return any(before[id(run.parameter)] != run.plateau.lr for run in runs)


def evaluated(net: Perceptron, task: Task, rows: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and their logits (s, m, c), block by block."""
    nbytes = _EVALUATION_NBYTES_ON_GPU if task.device.type == "cuda" else _EVALUATION_NBYTES
    parts = rows.split(max(64, nbytes // (4 * task.values.shape[1])))
    for part, x in zip(parts, task.batches(parts, dtype), strict=True):
        yield part, net.logits(x)


def _scores(net: Perceptron, task: Task, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The sum of the losses of each run on some rows, and what it comes to there, both (s,): the share that it classifies
    rightly, or what share of the loss of knowing only the means of these rows it saves (of numbers that is R2).
    """
    lost, right = [], []
    for part, logits in evaluated(net, task, rows, dtype):
        known = task.labels[part]
        if task.goal == "classes":
            right.append((logits.argmax(dim=2) == known).sum(dim=1))
            logs = torch.log_softmax(logits, dim=2, dtype=task.dtype)
            lost.append(logs.gather(2, known.expand(len(logs), -1).unsqueeze(2)).sum(dim=(1, 2), dtype=torch.float64))
        else:
            lost.append(losses_of(task.goal, logits.to(task.dtype), known).double().sum(dim=(1, 2)))
    losses = _summed(lost)
    if task.goal == "classes":
        return -losses, _summed(right).double() / len(rows)
    known = task.labels[rows]
    mean = known.double().mean(dim=0, keepdim=True)
    guess = mean if task.goal == "numbers" else mean.clamp(1e-6, 1 - 1e-6).logit()
    least = losses_of(task.goal, guess.expand(1, *known.shape).clone(), known.double()).sum()
    return losses, 1 - losses / least.clamp(min=torch.finfo(torch.float64).tiny)


def _summed(blocks: list[Tensor]) -> Tensor:
    """(s,) the sums of blocks; there is mostly one."""
    return blocks[0] if len(blocks) == 1 else torch.stack(blocks).sum(dim=0)


def _close_epoch(net: Perceptron, runs: list[Run], k: int, epoch: int, config: TrainingConfig, accuracy: float) -> bool:
    """Books an epoch of run k and keeps its weights where they are the best so far; True where the run ends."""
    run = runs[k]
    run.lr.append(run.plateau.lr)
    if not run.validation_accuracy or accuracy > run.validation_accuracy[run.best_epoch - 1]:
        run.best_epoch = epoch
        if not run.best:
            run.best = [torch.empty_like(tensor) for tensor in net.state(k)]
        for kept, tensor in zip(run.best, net.state(k), strict=True):
            kept.copy_(tensor)  # a copy: the originals train on
    run.validation_accuracy.append(accuracy)
    run.plateau.step(accuracy)
    return epoch - run.best_epoch >= config.patience or epoch == config.epochs


def _finish(net: Perceptron, runs: list[Run], ended: list[int], task: Task, keep: bool) -> None:
    """Test logits, in full precision, of the runs that ended, with their best weights."""
    for k in ended:
        for tensor, best in zip(net.state(k), runs[k].best, strict=True):
            tensor.copy_(best)
        runs[k].best = []
    chosen = net if len(ended) == len(runs) else net.select(ended)
    blocks = [logits for _, logits in evaluated(chosen, task, task.test, task.dtype)]
    whole = torch.cat(blocks, dim=1).cpu()
    for place, (k, logits) in enumerate(zip(ended, whole, strict=True)):
        runs[k].logits, runs[k].net = logits, chosen.select([place]) if keep else None
