"""The door for users' representations: a decorator, and the checks of what their functions make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Module
from lora_perf.core.registry import refuse_uncallable
from lora_perf.core.sources import owner_of
from lora_perf.representations.kinds import PerMatrix, PerModule
from lora_perf.representations.learned.fitting import Fit, Fitted
from lora_perf.representations.learned.task import Task
from lora_perf.representations.registry import CONTROLS, REPRESENTATIONS, USERS, Representation, sets

Of = Literal["factors", "updates", "train"]
Function = TypeVar("Function", bound=Callable[..., Any])
Names = Iterable[str] | Callable[[Any], Iterable[str]] | None


def representation(name: str, *, of: Of = "factors", features: Names = None) -> Callable[[Function], Function]:
    """Enters a function of yours as a representation, under a name for commands, reports and `represent`.

    What the function takes and makes depends on `of`:

    - `factors`: takes `Matrices`, q layers of one shape, and makes (q, f).
    - `updates`: takes `Modules`, q updates dW = s B A of one shape, and makes (q, f); adapters may have different ranks.
    - `train`: takes the train rows (n_train, p) of the chosen layers, float32, and a seed, and makes a function of any rows
      (b, p) -> (b, d). It never sees other rows until it is fitted, and d is its own choice.

    The functions of one batch may be called by several threads at once. What they are given is shared with other functions:
    read it, do not write into it. Results may be of any real type and become float32. The cache of features knows the source
    of the function and of your modules that it uses: edit it, and features are made anew.

    Args:
        name: letters, digits and _; your representations together form the set `users`.
        features: the f names of the columns; or, where they differ, a function of the layer (or of the module) that makes
            them: none for a layer means no column. Layers of one shape, also transposed, have as many, or none. `train` takes
            no names, its columns are numbered.

    Raises:
        LoraPerfError: the name is taken; something else than names as features. Later, where the function makes another
            shape than (q, f) or a NaN. An exception of the function itself passes through.

    >>> import lora_perf, torch
    >>> @lora_perf.representation("row_sizes", features=("smallest", "largest"))
    ... def row_sizes(x):
    ...     sizes = x.entries.norm(dim=2)
    ...     return torch.stack([sizes.amin(dim=1), sizes.amax(dim=1)], dim=1)
    >>> features = lora_perf.represent(lora_perf.load("digits"), ["row_sizes"])["row_sizes"]
    >>> features.shape, features.names[1].rpartition("/")[2]
    ((1000, 48), 'largest')
    """
    if not isinstance(name, str) or of not in ("factors", "updates", "train"):
        raise LoraPerfError(
            expected="a name, and factors, updates or train as `of`",
            found=f"{name!r} and {of!r}",
            fix='write @lora_perf.representation("name", features=("one", "two"))',
        )
    if name in (*sets(), USERS, CONTROLS):
        raise LoraPerfError(
            expected="a new name for a representation", found=f"{name!r}, the name of a set", fix="choose another name"
        )
    if (features is None) != (of == "train"):
        raise LoraPerfError(
            expected=f"the names of the features of {name}" if features is None else f"no names of features for {name}",
            found=f"features={'None' if features is None else '...'} with of={of!r}",
            fix='write features=("one", "two"); leave them out where of="train", for a fit decides how many there are',
        )

    def enter(function: Function) -> Function:
        refuse_uncallable("representation", name, function)
        written: dict[str, Any] = {"family": USERS, "sources": (function, features) if callable(features) else (function,)}
        made: Representation
        if of == "train":
            made = Fitted(name, _fit(name, function), **written)
        else:
            made = (PerModule if of == "updates" else PerMatrix)(name, _names(name, features), function, **written)
        REPRESENTATIONS.add(name, made, owner_of(function))
        return function

    return enter


def _names(name: str, features: Names) -> Callable[[Layer | Module], tuple[str, ...]]:
    """The names of the features of a layer or module, checked."""
    if not callable(features):
        fixed = _checked_names(name, features)
        if not fixed:
            raise LoraPerfError(expected=f"at least one feature of {name}", found="none", fix='write features=("one", "two")')
        return lambda _: fixed
    found: dict[Layer | Module, tuple[str, ...]] = {}  # asked once each: there is one answer for a layer

    def names_of(one: Layer | Module) -> tuple[str, ...]:
        if one not in found:
            found[one] = _checked_names(name, features(one))
        return found[one]

    return names_of


def _checked_names(name: str, features: Any) -> tuple[str, ...]:
    several = isinstance(features, Iterable) and not isinstance(features, str)
    names = tuple(features) if several else ()
    if not several or not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        raise LoraPerfError(
            expected=f"different texts as names of the features of {name}",
            found=listed(map(repr, names)) if several else repr(features),
            fix='write features=("one", "two"), or ("one",) for a single one',
        )
    return names


def called(one: PerMatrix | PerModule, batch: Any, width: int, where: Callable[[int], str]) -> Tensor:
    """What a user's function makes of a batch, checked: (q, width) float32; `where` tells what a row of it is about."""
    count = len(batch.entries if isinstance(one, PerMatrix) else batch.up)
    return checked(one.name, _run(one.name, one.function, batch), count, width, where)


def checked(name: str, values: Any, count: int, width: int | None, where: Callable[[int], str]) -> Tensor:
    """The result of a user's function as float32 (count, width), any width where that is None."""
    wanted = f"a tensor ({count}, {'d' if width is None else width}) of real numbers from the function of {name}"
    fix = "mend the function: a row for each of what it is given, a column for each feature"
    if not isinstance(values, Tensor):
        raise LoraPerfError(expected=wanted, found=type(values).__name__, fix=fix)
    if values.is_complex() or values.dim() != 2 or len(values) != count or width not in (None, values.shape[1]):
        raise LoraPerfError(expected=wanted, found=f"shape {tuple(values.shape)} of {values.dtype}", fix=fix)
    if values.layout != torch.strided or values.is_meta:
        what = "one on the device meta" if values.is_meta else f"one of layout {values.layout}"
        raise LoraPerfError(expected=wanted, found=what, fix="return a dense tensor of values")
    found = values.detach().to(torch.float32)
    bad = (~torch.isfinite(found)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        kind = "NaN" if bool(found[row, column].isnan()) else "infinity"
        raise LoraPerfError(
            expected=f"finite features from the function of {name}",
            found=f"{kind} in column {column} for {where(row)}",
            fix="mend the function, such as what it divides by",
        )
    return found


def _run(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        error.add_note(f"raised by {owner_of(function)}, the function of the representation {name}")
        raise


def _fit(name: str, function: Callable[..., Any]) -> Fit:
    """A user's fit on the train rows, which then makes features of all rows, some at a time."""

    def fit(task: Task) -> Tensor:
        if task.dimensions is not None:
            raise LoraPerfError(
                expected=f"no number of dimensions for {name}", found=str(task.dimensions), fix="let its function decide"
            )
        apply = _run(name, function, task.whole(task.train, torch.float32), task.seed)
        if not callable(apply):
            raise LoraPerfError(
                expected=f"a function of rows (b, p) -> (b, d) from the function of {name}",
                found=type(apply).__name__,
                fix="return such a function, fitted on the train rows",
            )
        tables: list[Tensor] = []
        for rows in task.tiles(None, task.p):
            width = tables[0].shape[1] if tables else None
            values = _run(name, apply, task.whole(rows, torch.float32))
            where = lambda i: task.zoo.called(int(rows[i]))  # noqa: B023, E731 - called at once
            tables.append(checked(name, values, len(rows), width, where))
        return torch.cat(tables)

    return fit
