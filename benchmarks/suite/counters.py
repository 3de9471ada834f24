"""What is exactly repeatable: calls of Python functions, and bytes written."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@contextmanager
def _repeatable() -> Iterator[None]:
    """Threads that wait for each other call as often as they must, so there is one; finalisers of older garbage run first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        torch.set_num_threads(threads)


def python_calls(call: Callable[[], Any], *, before: Callable[[], Any] | None = None) -> int:
    """Calls of Python functions in one call, those in threads that it starts included."""
    count = 0
    if before is not None:
        before()

    def see(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    with _repeatable():
        threading.setprofile(see)
        sys.setprofile(see)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return count


class _Written(TorchDispatchMode):
    """Notes the bytes of all tensors that operators write: new ones, and those changed in place."""

    def __init__(self, notes: list[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._notes = notes

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = operator(*args, **kwargs)
        # Memory that is only reserved is written by a later operator.
        if not operator.__name__.startswith(("empty", "new_empty")):
            given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
            new = [one for one in _tensors(found) if one.untyped_storage()._cdata not in given]
            self._notes.append(sum(one.nbytes for one in new + _changed(operator, args, kwargs)))
        return found


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, torch.Tensor)]


def _changed(operator: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that an operator writes to, as its schema says."""
    names = enumerate(operator._schema.arguments)
    written = [(i, one.name) for i, one in names if one.alias_info is not None and one.alias_info.is_write]
    return _tensors([args[i] if i < len(args) else kwargs.get(name) for i, name in written])


@contextmanager
def _in_new_threads(make: Callable[[], TorchDispatchMode]) -> Iterator[None]:
    """Dispatch modes belong to a thread; this gives each thread that is started inside one of its own."""
    run = threading.Thread.run

    def run_with_mode(thread: threading.Thread) -> None:
        with make():
            run(thread)

    threading.Thread.run = run_with_mode  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.run = run  # type: ignore[method-assign]


def copied_nbytes(call: Callable[[], Any], *, before: Callable[[], Any] | None = None) -> int:
    """Bytes written by torch operators, and the most that Python and NumPy hold at a time of what the call allocates.

    NumPy's and Python's memory is counted by its peak (`tracemalloc`), which sees each fresh array and each Python number
    once. Memory of Arrow and of other C++ code is not seen.
    """
    with _Written([]):
        torch.zeros(1).clone()  # imports what a first dispatch imports, which is slow where memory is traced
    for _ in range(2):  # what a first call under a dispatch mode caches is not the workload's
        notes: list[int] = []
        if before is not None:
            before()
        with _repeatable(), _in_new_threads(partial(_Written, notes)), _Written(notes):
            tracemalloc.start()
            try:
                kept = call()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        del kept
    return sum(notes) + peak
