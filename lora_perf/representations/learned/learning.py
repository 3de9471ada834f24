"""Fitting: the one function that makes features of what is learned from train rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features, Part
from lora_perf.core.layout import Layer, Module
from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned.registry import Learned, resolve
from lora_perf.representations.learned.task import Task

_FEWEST = 3  # two adapters lie on a line whatever they are


def learn(
    zoo: Zoo,
    name: str,
    *,
    layers: Sequence[Layer] | None = None,
    train: Tensor,
    seed: int = 42,
    device: torch.device | str = "cpu",
    dimensions: int | None = None,
) -> Features:
    """Features of all rows of a zoo, fitted on its train rows alone.

    Args:
        zoo: n adapters.
        name: a key of LEARNED.
        layers: the layers to learn from, in layout order whatever the order here; all by default.
        train: row indices; their order does not matter.
        seed: of everything random; the same seed gives the same features on the same machine and number of threads.
        device: where features are computed and stay.
        dimensions: the number of features; by default the representation's own choice, see there.

    Shapes: train (n_train,) int64; Features.values (n, d) float32. Each column belongs to all chosen layers together.

    Cost: see each representation. Rows are read by column ranges, from memory or from the mapped file; a zoo that is
        neither comes into memory.

    Raises:
        LoraPerfError: an unknown name; fewer than three train rows, or rows that the zoo does not have; layers of another
            zoo, or without a whole module where modules are needed; adapters of different ranks where columns are compared;
            a NaN or infinity; train rows that do not differ; more dimensions than the train rows span.
    """
    one = resolve(name)
    task = make_task(zoo, one, layers, train, seed, device, dimensions)
    values = one.fit(task).to(torch.float32)
    if not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).any(dim=1).nonzero()[0])
        raise LoraPerfError(
            expected=f"weights whose {name} fits float32",
            found=f"features of {zoo.called(row)} that overflow",
            fix="leave the adapter out: its entries are larger than those of any working adapter",
        )
    return as_features(task, one, values)


def make_task(
    zoo: Zoo,
    one: Learned,
    layers: Sequence[Layer] | None,
    train: Tensor,
    seed: int,
    device: torch.device | str,
    dimensions: int | None,
) -> Task:
    """The fit that was asked for, checked without reading a weight."""
    if zoo.ranks is not None and not one.mixed_ranks:
        raise LoraPerfError(
            expected=f"adapters of one rank for {one.name}",
            found=f"ranks from {int(zoo.ranks.min())} to {int(zoo.ranks.max())}",
            fix="use dw_kernel, which compares updates, or keep the adapters of one rank",
        )
    if dimensions is not None and dimensions < 1:
        raise LoraPerfError(expected="at least one dimension", found=str(dimensions), fix="ask for more, or leave it out")
    chosen = zoo.layout.choose(layers)
    modules: tuple[tuple[int, Module], ...] = ()
    if one.of_updates:
        wanted = set(chosen)
        modules = tuple((i, module) for i, module in enumerate(zoo.layout.modules) if {module.up, module.down} <= wanted)
        if not modules:
            raise LoraPerfError(
                expected=f"the up and the down of at least one module for {one.name}, which compares updates dW = s B A",
                found=f"{len(chosen)} layers without their partners",
                fix="choose a layer group that has both sides, such as all or visual",
            )
        paired = {side for _, module in modules for side in (module.up, module.down)}
        chosen = tuple(layer for layer in chosen if layer in paired)
    return Task(zoo, chosen, modules, _checked(train, len(zoo)), seed, torch.device(device), dimensions)


def as_features(task: Task, one: Learned, values: Tensor) -> Features:
    """The features of a task: every column belongs to all of its layers."""
    names = tuple(map(str, range(values.shape[1])))
    return Features(
        values, task.zoo.layout, (Part(task.zoo.layout.indices(task.layers), one.name, names),), task.zoo.given_names
    )


def _checked(train: Tensor, n: int) -> Tensor:
    """The train rows in ascending order."""
    if train.dim() != 1 or train.dtype not in (torch.int64, torch.int32):
        raise LoraPerfError(
            expected="train as a vector of row indices",
            found=f"a tensor of shape {tuple(train.shape)} and {train.dtype}",
            fix="pass split.train, or mask.nonzero().flatten()",
        )
    rows: Tensor = train.to("cpu", torch.int64).unique()
    if len(rows) < _FEWEST:
        raise LoraPerfError(
            expected=f"at least {_FEWEST} different train rows", found=str(len(rows)), fix="use a larger zoo or another split"
        )
    if int(rows[0]) < 0 or int(rows[-1]) >= n:
        raise LoraPerfError(
            expected=f"train rows from 0 to {n - 1}",
            found=f"rows from {int(rows[0])} to {int(rows[-1])}",
            fix="pass split.train",
        )
    return rows
