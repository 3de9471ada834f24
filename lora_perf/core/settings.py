"""Settings as a Python user gives them, seen to be what a dataclass of settings holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from lora_perf.core.errors import LoraPerfError, listed

T = TypeVar("T")
# What a caller may give to be told how far the work is: called with a stage, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], object]
silent: Progress = lambda *_: None  # noqa: E731 - so that it has the type


def counting(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """What tells a progress how far a stage is, called with how many more are done."""
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return more


def settings_of(kind: type[T], given: Mapping[str, Any]) -> T:
    """A dataclass of settings made of plain values: a single name may stand for a sequence, a text for a path.

    >>> from lora_perf.experiment import ExperimentConfig
    >>> settings_of(ExperimentConfig, {"classifiers": "ridge", "output_dir": "out"}).classifiers
    ('ridge',)

    Raises:
        LoraPerfError: a value of another type, or a name that is not known.
    """
    hints, kept = get_type_hints(kind), {}
    for name, value in given.items():
        hint = hints[name]
        if get_origin(hint) is tuple:
            if not isinstance(value, Iterable):
                raise _refused(name, "a list of names", value)
            values = (value,) if isinstance(value, str) else tuple(value)
            kept[name] = tuple(_checked(name, one, get_args(hint)[0]) for one in values)
        else:
            kept[name] = _checked(name, value, hint)
    return kind(**kept)


def refuse_nameless(settings: object, names: Iterable[str]) -> None:
    """Refuses settings without a name where they list some."""
    for name in names:
        if not getattr(settings, name):
            flag = name.replace("_", "-")
            raise LoraPerfError(expected=f"at least one name after --{flag}", found="none", fix="name one")


def _checked(name: str, value: Any, hint: Any) -> Any:
    """One value of a setting, seen to be of its type."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _refused(name, f"one of {listed(get_args(hint))}", value)
        return value
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    value = value.item() if isinstance(value, np.generic) else value
    if Path in kinds and isinstance(value, str):
        return Path(value).expanduser()
    wanted = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in kinds):
        words = " or ".join("None" if one is NoneType else one.__name__ for one in kinds)
        raise _refused(name, f"a value of type {words}", value)
    return value


def _refused(name: str, expected: str, value: object) -> LoraPerfError:
    return LoraPerfError(expected=f"{expected} for {name}", found=repr(value), fix=f"change {name}")
