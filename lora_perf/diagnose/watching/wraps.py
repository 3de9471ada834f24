"""Entry points put behind a count: what of a call is told, and how the wrapper comes to its place."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from lora_perf.diagnose.watching.ledger import Ledger

# What libraries call the first argument of what is wrapped, and the second.
_NAMES = (
    {"data", "object", "a", "tensors", "arrays", "tup", "obj", "f", "file", "filename", "filepath_or_buffer", "path", "source"}
    | {"dataset_path", "tensor_dict"},
    {"f", "file", "filename"},
)
Told = tuple[str, int, int, Any] | None  # kind, values, bytes, what was read; None where it is nothing to count


@dataclass(slots=True)  # one a call of the program: it has to be made quickly
class Call:
    """A call that a line of the program made.

    Attributes:
        place: file and line.
        args, kwargs: of the call.
        found: its result.
        before: what `before` of its wrapper said when it began.
    """

    place: tuple[str, int]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    found: Any
    before: Any = None

    def argument(self, at: int = 0) -> Any:
        """An argument by its place, also where it was given by its name; None where it was not given."""
        if len(self.args) > at:
            return self.args[at]
        return next((value for name, value in self.kwargs.items() if name in _NAMES[at]), None)


class Wraps:
    """Puts wrappers in their places, until the stack is closed."""

    def __init__(self, ledger: Ledger, stack: ExitStack) -> None:
        self.ledger = ledger
        self._stack = stack

    def call(
        self,
        owner: Any,
        name: str,
        size: Callable[[Call], Told],
        before: Callable[[Sequence[Any]], Any] = lambda _: None,
    ) -> None:
        """Counts the calls of owner.name, where it has one, by what `size` says of each."""
        original = getattr(owner, name, None)
        if original is None:
            return
        ledger, users = self.ledger, self.ledger.users

        def called(*args: Any, **kwargs: Any) -> Any:
            if users.get(sys._getframe(1).f_code) is False:  # the common case: a library's own call
                return original(*args, **kwargs)
            if (place := ledger.place()) is None:
                return original(*args, **kwargs)
            state = before(args)
            return ledger.call(
                place, lambda: original(*args, **kwargs), lambda found: size(Call(place, args, kwargs, found, state))
            )

        functools.update_wrapper(called, original, [one for one in functools.WRAPPER_ASSIGNMENTS if hasattr(original, one)])
        if isinstance(owner, ModuleType):  # pools send functions by name: it has to be that of the wrapper
            called.__module__, called.__qualname__ = owner.__name__, name
        self.replace(owner, name, called)

    def replace(self, owner: Any, name: str, wrapper: Any) -> None:
        """Puts a wrapper in the place of owner.name."""
        self._stack.enter_context(patch.object(owner, name, wrapper))

    def entry(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Puts a new entry into a table, until the stack is closed."""
        table[key] = value
        self._stack.callback(table.pop, key, None)
