"""Fitting: representations that are learned from train rows, and the rows that they may look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features, Part
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.core.rows import Chosen, row_numbers
from lora_perf.core.split import Split, make_split
from lora_perf.core.zoo import Zoo
from lora_perf.representations.kinds import modules_within
from lora_perf.representations.learned.task import Task
from lora_perf.representations.registry import REPRESENTATIONS, Needs, Single, Sources, refuse_ranks

_FEWEST = 3  # two adapters lie on a line whatever they are
Fit = Callable[[Task], Tensor]


@dataclass(frozen=True)
class Fitted(Single):
    """A representation that is fitted on train rows: every column belongs to all chosen layers together.

    Attributes:
        fit: task -> features (n, d) of all rows, on the device of the task.
        of_updates: whether it sees whole modules, the factors of dW = s B A, and not just columns of the rows.
        any_rank: only where the result does not depend on which rank stands in which column.
        trained: whether its network is trained.
    """

    name: str
    fit: Fit
    of_updates: bool = False
    any_rank: bool = False
    family: str = "learned"
    sources: Sources = ()
    trained: bool = True
    needs: ClassVar[Needs] = "train rows"
    drawn: ClassVar[bool] = True
    streamed: ClassVar[bool] = False
    stored: ClassVar[bool] = True

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...] | None:
        """The one part of all columns, as many as `width`."""
        chosen, _ = self._choose(layout, layers)
        return None if width is None else self._described(layout, chosen, width)

    def _described(self, layout: Layout, chosen: Sequence[Layer], width: int) -> tuple[Part, ...]:
        return (Part(layout.indices(chosen), self.name, tuple(map(str, range(width)))),)

    def make(
        self,
        zoo: Zoo,
        layers: Sequence[Layer],
        device: torch.device,
        train: Chosen | Split | None = None,
        seed: int = 42,
        dimensions: int | None = None,
    ) -> Features:
        """Features of all rows of a zoo, fitted on its train rows alone (see `represent`).

        Cost: see each representation. Rows are read by column ranges, from memory or from the mapped file; a zoo that is
            neither comes into memory.
        """
        task = self.task(zoo, layers, device, train, seed, dimensions)
        values = self.fit(task).to(torch.float32)
        if not torch.isfinite(values).all():
            row = int((~torch.isfinite(values)).any(dim=1).nonzero()[0])
            raise LoraPerfError(
                expected=f"weights whose {self.name} fits float32",
                found=f"features of {zoo.called(row)} that overflow",
                fix="leave the adapter out: its entries are larger than those of any working adapter",
            )
        parts = self._described(zoo.layout, task.layers, values.shape[1])
        return Features(values, zoo.layout, parts, zoo.given_names)

    def task(
        self,
        zoo: Zoo,
        layers: Sequence[Layer],
        device: torch.device,
        train: Chosen | Split | None,
        seed: int,
        dimensions: int | None,
    ) -> Task:
        """The fit that was asked for, checked without reading a weight."""
        refuse_ranks(zoo, [self.name])
        if dimensions is not None and dimensions < 1:
            raise LoraPerfError(expected="at least one dimension", found=str(dimensions), fix="ask for more, or leave it out")
        chosen, modules = self._choose(zoo.layout, layers)
        return Task(zoo, chosen, modules, train_rows(zoo, train, self.name), seed, device, dimensions, self.trained)

    def _choose(self, layout: Layout, layers: Sequence[Layer]) -> tuple[tuple[Layer, ...], tuple[tuple[int, Module], ...]]:
        """The layers that it looks at, and their modules with their places."""
        if not self.of_updates:
            return tuple(layers), ()
        within = {module.name for module in modules_within(layout, layers, self.name)}
        modules = tuple((i, module) for i, module in enumerate(layout.modules) if module.name in within)
        sides = {side for _, module in modules for side in (module.up, module.down)}
        return tuple(layer for layer in layers if layer in sides), modules


def learned(name: str, *, of_updates: bool = False, any_rank: bool = False) -> Callable[[Fit], Fitted]:
    """Makes a representation of a function of a task -> (n, d)."""
    return lambda fit: Fitted(name, fit, of_updates, any_rank)


def learn(zoo: Zoo, name: str, *, train: Tensor) -> Features:
    """The features of all layers by one representation that is fitted."""
    one = REPRESENTATIONS.named(name)
    assert isinstance(one, Fitted)
    return one.make(zoo, zoo.layout.layers, torch.device("cpu"), train)


def train_rows(zoo: Zoo, train: Chosen | Split | None, name: str) -> Tensor:
    """The rows that a representation is fitted on, in ascending order: those given, or those of an experiment by default.

    Raises:
        LoraPerfError: no vector of at least three rows of the zoo, or none given and nothing to divide the zoo by.
    """
    if train is None:
        train = _own_rows(zoo, name)
    train = train.train if isinstance(train, Split) else train
    if not isinstance(train, Tensor) or train.dtype == torch.bool:
        train = torch.from_numpy(row_numbers(train, len(zoo)))
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
    if int(rows[0]) < 0 or int(rows[-1]) >= len(zoo):
        raise LoraPerfError(
            expected=f"train rows from 0 to {len(zoo) - 1}",
            found=f"rows from {int(rows[0])} to {int(rows[-1])}",
            fix="pass split.train",
        )
    return rows


def _own_rows(zoo: Zoo, name: str) -> Tensor | Split:
    if zoo.labels is not None:
        return make_split(zoo.labels, zoo.classes, zoo.split)
    if zoo.split is not None:
        return (zoo.split == 0).nonzero().flatten()
    raise LoraPerfError(
        expected=f"train rows for {name}, which is fitted on them",
        found=f"none given, and neither labels nor a split in {zoo.name}",
        fix="pass train, a vector of row indices or a Split",
    )
