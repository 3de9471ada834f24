"""The conditions under which counts repeat."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


@contextmanager
def quiet() -> Iterator[None]:
    """Threads that wait for each other call as often as they must, so there is one; garbage is not collected meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        torch.set_num_threads(threads)


@contextmanager
def in_new_threads(make: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Gives each thread that is started inside a context of its own, where what is set belongs to a thread."""
    run = threading.Thread.run

    def run_within(thread: threading.Thread) -> None:
        with make():
            run(thread)

    threading.Thread.run = run_within  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.run = run  # type: ignore[method-assign]
