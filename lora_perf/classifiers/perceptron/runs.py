"""The classifier of one cell: standardised features, one perceptron a seed, all seeds trained together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock

import torch
from torch import Tensor

from lora_perf.classifiers.perceptron.epochs import Goal, Task
from lora_perf.classifiers.perceptron.network import run_nbytes
from lora_perf.classifiers.perceptron.recipe import TrainingConfig, product_type
from lora_perf.classifiers.perceptron.training import Progress, evaluated, train_stack
from lora_perf.classifiers.perceptron.training import Run as Trained
from lora_perf.classifiers.protocol import CLASSIFIERS, DEFAULT, USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.resources import memory_left
from lora_perf.core.showing import size
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues

__all__ = ["Curves", "TrainedRuns", "TrainingConfig", "train"]


@dataclass(frozen=True)
class Curves:
    """What one run did in each epoch; `train_loss` is the mean over its batches while it trained, with dropout.

    `validation_loss` is the mean at its end, without.
    """

    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    lr: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class TrainedRuns:
    """What the runs of a cell came to in their best epochs.

    Attributes:
        seeds: (s,).
        logits: (s, n_test, c), in the order of the split's test rows.
        predictions: (s, n_test) int64.
        validation_accuracy: (s,) of the best epoch.
        best_epoch, epochs_run: (s,), counted from one.
        curves: one a run.
        seconds: (s,) that a run took; runs of one stack share its time equally.
        dropped: the columns that were constant on the train rows.
        answers: rows (m, f) -> classes (s, m), where the weights were kept.
    """

    seeds: tuple[int, ...]
    logits: Tensor
    predictions: Tensor
    validation_accuracy: tuple[float, ...]
    best_epoch: tuple[int, ...]
    epochs_run: tuple[int, ...]
    curves: tuple[Curves, ...]
    seconds: tuple[float, ...]
    dropped: Tensor
    answers: Callable[[Tensor], Tensor] | None = None


def train(
    values: Tensor | StoredValues,
    labels: Tensor,
    split: Split,
    n_classes: int,
    seeds: Sequence[int],
    config: TrainingConfig | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    stacked: bool | None = None,
    keep: bool = False,
    goal: Goal = "classes",
) -> TrainedRuns:
    """Trains one perceptron per seed and predicts the test rows.

    On a GPU all runs are one stack. On the CPU each run has a thread of its own with one core: its weights stay in
    that core's cache, no core waits for another, and a run gives the same numbers whatever trains beside it.

    Args:
        progress: called with seed, epoch and validation accuracy after each epoch, by one thread at a time.
        stacked: whether all runs are one stack; if not given, as said above. Both ways give the same up to rounding.
        keep: whether the weights of the best epochs stay, for `TrainedRuns.answers`.

        goal: what the labels are: classes by cross entropy, numbers by their squares (standardised by the train rows), several
            labels by the cross entropy of each.

    Shapes: values (n, f), labels (n,), of several labels (n, n_classes).
    Cost: the sum of the epochs of all runs; features are standardised batch by batch, never as a second matrix.
    Raises:
        LoraPerfError: fewer than two train rows, no seeds, constant or non-finite features.
    """
    config = config or TrainingConfig()
    device = torch.device(device)
    if not seeds or len(set(seeds)) != len(seeds):
        raise LoraPerfError(expected="at least one seed, each once", found=str(list(seeds)), fix="name the seeds anew")
    if len(split.train) < 2:
        raise LoraPerfError(
            expected="two train adapters or more, since batch norm needs two",
            found=str(len(split.train)),
            fix="use a larger zoo",
        )
    standardiser = Standardiser.fit(values, split.train)
    shift, unit = 0.0, 1.0
    if goal == "numbers":
        known = labels[split.train.to(labels.device)].double()
        shift, unit = float(known.mean()), float(known.std(correction=0)) or 1.0
        labels = ((labels.double() - shift) / unit)[:, None]
    labels = labels if goal == "classes" else labels.to(values.dtype)
    selected = standardiser.select(values)
    task = Task(
        selected.to(device) if isinstance(selected, Tensor) else selected,
        standardiser.mean.to(device, values.dtype),
        standardiser.scale.reciprocal().to(device, values.dtype),
        labels.to(device),
        split.train.to(device),
        split.validation.to(device),
        split.test.to(device),
        1 if goal == "numbers" else n_classes,
        goal=goal,
    ).readied(product_type(config, device, values.dtype))
    if stacked or (stacked is None and device.type != "cpu"):
        runs = _in_stacks(task, seeds, config, progress, keep)
    else:
        runs = _in_lanes(task, seeds, config, progress, keep)
    logits = torch.stack([run.logits for run in runs])
    return TrainedRuns(
        tuple(seeds),
        logits,
        _told(logits, goal, shift, unit),
        tuple(max(run.validation_accuracy) for run in runs),
        tuple(run.best_epoch for run in runs),
        tuple(len(run.lr) for run in runs),
        tuple(Curves(*map(tuple, (run.train_loss, run.validation_loss, run.validation_accuracy, run.lr))) for run in runs),
        tuple(run.seconds for run in runs),
        standardiser.dropped,
        _answers(runs, task, standardiser, lambda logits: _told(logits, goal, shift, unit)) if keep else None,
    )


def _told(logits: Tensor, goal: Goal, shift: float, unit: float) -> Tensor:
    """What logits (s, n, c) say: classes (s, n), numbers (s, n), or scores (s, n, c) of several labels."""
    if goal == "classes":
        return logits.argmax(dim=2)
    return logits[:, :, 0].double() * unit + shift if goal == "numbers" else logits.double()


class MultilayerPerceptron:
    """Perceptrons of a recipe, trained together."""

    name = DEFAULT
    about = "the perceptron"
    seeded = True
    by_epochs = True
    targets: tuple[str, ...] = ("classes", "numbers", "several")
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It learns from any number of features."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """One run a seed; see `Classifier.fit` and `train`."""
        trained = train(
            examples.values,
            labels,
            examples.split,
            n_classes,
            setup.seeds,
            setup.recipe,
            setup.device,
            setup.progress,
            keep=setup.keep,
            goal="classes" if setup.task == "retrieval" else setup.task,
        )
        runs = [
            Run(
                seed,
                trained.validation_accuracy[k],
                trained.best_epoch[k],
                trained.epochs_run[k],
                trained.seconds[k],
                {name: [float(value) for value in curve] for name, curve in vars(trained.curves[k]).items()},
            )
            for k, seed in enumerate(trained.seeds)
        ]
        return Fitted(trained.predictions.cpu(), tuple(runs), examples.values.shape[1], trained.dropped, trained.answers)


CLASSIFIERS.add(DEFAULT, MultilayerPerceptron())


def _answers(
    runs: list[Trained], task: Task, standardiser: Standardiser, told: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Predictions of further rows by runs that kept their weights; nothing else of the task stays."""
    bare = replace(task, values=task.mean.new_empty(0, task.values.shape[1]), ready=None)
    nets = [run.net for run in runs if run.net is not None]

    def answers(values: Tensor) -> Tensor:
        rows = torch.arange(len(values), device=bare.device)
        values = values.to(bare.mean)
        asked = replace(bare, values=standardiser.select(values))
        found = [[told(logits) for _, logits in evaluated(net, asked, rows, asked.dtype)] for net in nets]
        return torch.cat([torch.cat(parts, dim=1) for parts in found]).cpu()

    return answers


def _in_stacks(
    task: Task, seeds: Sequence[int], config: TrainingConfig, progress: Progress | None, keep: bool
) -> list[Trained]:
    """The runs as one stack, or as stacks of half the runs where a GPU's memory has no room for it.

    Raises:
        LoraPerfError: not even one run fits.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False  # sums over wide features in bfloat16 lose most of their digits
    try:
        return train_stack(task, seeds, config, Event(), progress, keep)
    except torch.OutOfMemoryError:
        pass  # and with it the tensors of the stack that its traceback holds
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
    if task.device.type == "cuda":
        torch.cuda.empty_cache()
    if len(seeds) == 1:
        raise LoraPerfError(
            expected=f"memory of the GPU for a perceptron of {task.values.shape[1]:,} features",
            found="less",
            fix="choose fewer layers (--layer-groups, --sample-layers), a smaller --hidden-dim, or --device cpu",
        )
    half = -(-len(seeds) // 2)
    parts = (_in_stacks(task, part, config, progress, keep) for part in (seeds[:half], seeds[half:]))
    return [run for part in parts for run in part]


_SMALL = 64 << 20  # bytes of a run for which nobody asks how much memory is left


def _in_lanes(task: Task, seeds: Sequence[int], config: TrainingConfig, progress: Progress | None, keep: bool) -> list[Trained]:
    """The runs, as many at a time as PyTorch has threads and memory has room for, each on one thread."""
    threads = torch.get_num_threads()
    lanes = min(threads, len(seeds), _room_for(task, config))
    stop, lock = Event(), Lock()

    def report(seed: int, epoch: int, accuracy: float) -> None:
        if progress is not None:
            with lock:
                progress(seed, epoch, accuracy)

    def one(seed: int) -> Trained:
        torch.set_num_threads(1)  # a setting of the calling thread for OpenMP, of the process for the thread pool
        return train_stack(task, [seed], config, stop, report, keep)[0]

    try:
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
            futures = [pool.submit(one, seed) for seed in seeds]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop.set()  # an interrupt or an error: the other lanes end with their epoch
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)


def _room_for(task: Task, config: TrainingConfig) -> int:
    """How many runs fit in memory at a time.

    Raises:
        LoraPerfError: not even one.
    """
    one = run_nbytes((task.values.shape[1], config.hidden, task.n_classes), config.layers)
    if one < _SMALL:
        return torch.get_num_threads()
    if one > (left := memory_left()):
        raise LoraPerfError(
            expected=f"{size(one)} of memory for a perceptron of {task.values.shape[1]:,} features",
            found=f"{size(left)} left",
            fix="choose fewer layers (--layer-groups, --sample-layers), narrower representations or a smaller --hidden-dim",
        )
    return left // one
