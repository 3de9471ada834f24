"""What is learned of adapters: their labels, or a column of their metadata as classes, numbers, several labels or likeness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted

if TYPE_CHECKING:
    from lora_perf.core.zoo import Zoo

Task = Literal["classes", "numbers", "several", "retrieval"]
AskedTask = Literal["auto", "classes", "numbers", "several", "retrieval"]
_MOST_CLASSES = 20  # different whole numbers that are still classes, where each has several adapters
_STRATA = 5  # of numbers, by which they are divided evenly


@dataclass(frozen=True, eq=False)
class Target:
    """What is learned.

    Attributes:
        name: of the column; "" for the labels of the zoo.
        task: classes, one of each adapter; numbers; several labels of each adapter; retrieval of those of the same class.
        values: (n,) int64 classes, (n,) float64 numbers, or (n, l) float32 of 0 and 1.
        names: of the classes or labels; none of numbers.
    """

    name: str
    task: Task
    values: Tensor
    names: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers a classifier gives an adapter."""
        return len(self.names) if self.task != "numbers" else 1

    @cached_property
    def strata(self) -> tuple[Tensor, tuple[str, ...]]:
        """(n,) classes by which adapters are divided evenly, and their names: fifths of numbers, the rarest of labels."""
        if self.task in ("classes", "retrieval"):
            return self.values, self.names
        if self.task == "numbers":
            edges = np.unique(np.quantile(self.values.numpy(), np.linspace(0, 1, _STRATA + 1)[1:-1]))
            return _compact(torch.from_numpy(np.digitize(self.values.numpy(), edges)))
        counts = self.values.sum(dim=0)
        rarest = torch.where(self.values > 0, -counts, -torch.inf).argmax(dim=1)
        return _compact(torch.where(self.values.any(dim=1), rarest, self.values.shape[1]))

    def select(self, rows: Sequence[int]) -> Target:
        """The target of some adapters."""
        return replace(self, values=self.values[torch.as_tensor(rows)])


def _compact(of: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Strata numbered from 0 on; those of a single adapter join their neighbour, since no split could divide them."""
    present, places, counts = of.unique(return_inverse=True, return_counts=True)
    alone = counts < 2
    if bool(alone.any()) and len(present) > 1:
        to = torch.arange(len(present))
        large = int(counts.argmax())
        to[alone] = large
        places = to[places].unique(return_inverse=True)[1]
    names = tuple(f"stratum {k}" for k in range(int(places.max()) + 1))
    return places, names


def known_rows(zoo: Zoo, columns: Sequence[str]) -> list[int]:
    """The rows of the adapters of which all of some columns of the metadata say something."""
    values = [column_of(zoo, name, "skip-missing") for name in columns]
    return [row for row in range(len(zoo)) if not any(is_missing(each[row]) for each in values)]


def labels_of(zoo: Zoo, task: AskedTask = "auto") -> Target:
    """The labels of a zoo, to be learned or to be found again."""
    return Target("", "retrieval" if task == "retrieval" else "classes", zoo.required_labels, tuple(zoo.classes))


def is_missing(value: Any) -> bool:
    """Whether a value of metadata says nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and not value.strip())


def column_of(zoo: Zoo, name: str, flag: str) -> list[Any]:
    """(n) the values of a column of the metadata.

    Raises:
        LoraPerfError: there is no such column.
    """
    if name not in zoo.metadata:
        raise LoraPerfError(
            expected=f"a column {name} in the metadata of {zoo.name}",
            found=f"the columns {listed(zoo.metadata, 20)}" if len(zoo.metadata) else "no metadata",
            fix=f"name one of these with --{flag}" if len(zoo.metadata) else f"leave --{flag} out",
        )
    return zoo.metadata[name]


def refuse_missing(zoo: Zoo, name: str, values: Sequence[Any]) -> None:
    """Refuses a column that says nothing of some adapters, by their names."""
    rows = [row for row, value in enumerate(values) if is_missing(value)]
    if rows:
        raise LoraPerfError(
            expected=f"a value of {name} for each of {counted(len(values), 'adapter')}",
            found=f"none for {len(rows):,} ({listed((zoo.called(row) for row in rows), 3)})",
            fix="fill these in, or leave their adapters out: --skip-missing",
        )


def target_of(zoo: Zoo, name: str, task: AskedTask = "auto") -> Target:
    """A column of the metadata as a target.

    auto: lists are several labels; numbers are numbers, unless they are few whole ones that several adapters each have; all
    else is classes. Text that holds a number each is read as numbers.

    Raises:
        LoraPerfError: no such column, missing values, one value alone, or values that are not what the task needs.
    """
    values = column_of(zoo, name, "target")
    refuse_missing(zoo, name, values)
    if all(isinstance(value, list | tuple | set) for value in values):
        if task in ("auto", "several"):
            return _several(name, values)
        raise _refused(name, task, f"lists, as {_shown(values[0])}", "use --task several")
    if task == "several":
        return _several(name, [str(value).replace(";", ",").split(",") for value in values])
    numbers = [_number(value) for value in values]
    wrong = [row for row, number in enumerate(numbers) if number is None]
    if task == "numbers" and wrong:
        places = listed((f"{zoo.called(row)}: {_shown(values[row])}" for row in wrong), 3)
        raise _refused(name, task, f"{counted(len(wrong), 'value')} that {'is' if len(wrong) == 1 else 'are'} none ({places})",
                       "use --task classes, or leave these adapters out")  # fmt: skip
    if task == "numbers" or (task == "auto" and not wrong and not _few(numbers)):
        made = torch.tensor([float(number or 0.0) for number in numbers], dtype=torch.float64)
        if len(made.unique()) < 2:
            raise _constant(name, values[0])
        return Target(name, "numbers", made)
    return replace(_classes(name, values), task="retrieval" if task == "retrieval" else "classes")


def _few(numbers: Sequence[float | None]) -> bool:
    """Whether numbers are better taken as classes: few whole ones, each of several adapters."""
    found = np.array(numbers, np.float64)
    different, counts = np.unique(found, return_counts=True)
    return bool(
        (found == np.round(found)).all() and len(different) <= min(_MOST_CLASSES, len(found) // 5) and counts.min() >= 5
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _classes(name: str, values: Sequence[Any]) -> Target:
    texts = [str(value) for value in values]
    numbers = [_number(value) for value in values]
    whole = None not in numbers
    order = sorted(set(texts), key=lambda text: (float(text) if whole and _number(text) is not None else 0.0, text))
    if len(order) < 2:
        raise _constant(name, values[0])
    if len(order) > len(texts) // 2:
        raise LoraPerfError(
            expected=f"classes in {name} that several adapters share",
            found=f"{len(order):,} different values of {counted(len(texts), 'adapter')}, as {_shown(values[0])}",
            fix="choose another column, or --task numbers where these are numbers",
        )
    place = {text: number for number, text in enumerate(order)}
    return Target(name, "classes", torch.tensor([place[text] for text in texts]), tuple(order))


def _several(name: str, values: Sequence[Sequence[Any]]) -> Target:
    lists = [[str(one).strip() for one in value if not is_missing(one)] for value in values]
    names = tuple(sorted({one for each in lists for one in each}))
    place = {one: number for number, one in enumerate(names)}
    made = torch.zeros(len(lists), len(names))
    for row, each in enumerate(lists):
        made[row, [place[one] for one in each]] = 1
    varying = (made.sum(dim=0) > 1) & (made.sum(dim=0) < len(made))
    if int(varying.sum()) < 1:
        raise LoraPerfError(
            expected=f"labels in {name} that some adapters have, two or more, and others do not",
            found=f"{counted(len(names), 'label')}, each of one adapter or of all",
            fix="choose another column",
        )
    kept = [name for name, keep in zip(names, varying.tolist(), strict=True) if keep]
    return Target(name, "several", made[:, varying], tuple(kept))


def _constant(name: str, value: Any) -> LoraPerfError:
    return LoraPerfError(
        expected=f"values of {name} that differ between adapters",
        found=f"{_shown(value)} for all",
        fix="choose another column for --target",
    )


def _refused(name: str, task: str, found: str, fix: str) -> LoraPerfError:
    return LoraPerfError(expected=f"{task} in {name}", found=found, fix=fix)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
