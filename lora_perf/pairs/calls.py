"""What calls take: times, and beside them memory and calls within. It stands alone, as `worker.py` does, which loads it."""

from __future__ import annotations

import gc
import importlib.util
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_SCHEDULER = Path("/proc/thread-self/schedstat")


class Clock:
    """Three times of the calls between `start` and `stop`, in seconds.

    `wall` passes on the clock. `cpu` is that of this process and of the processes that it waited for. `own` is wall time less
    the time in which the calling thread was ready to run and had no core, so that a busy neighbour adds nothing to it while
    sleeping and waiting for a disk or a lock do; where the system does not tell (it is not Linux), it is wall time.
    """

    def __init__(self) -> None:
        self.wall = self.own = self.cpu = 0.0

    def measure(self, call: Callable[[], Any], times: int) -> None:
        """Adds the times of some calls; the last thing read before them and the first after them is the wall clock."""
        cpu, delay, worked, wall = _cpu_seconds(), _delay_seconds(), time.thread_time(), time.perf_counter()
        for _ in range(times):
            call()
        wall = time.perf_counter() - wall
        worked = time.thread_time() - worked
        self.wall += wall
        # On a crowded machine the thread also waits between the two clocks, where its calls did not.
        self.own += max(wall - (_delay_seconds() - delay), min(worked, wall))
        self.cpu += _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _delay_seconds() -> float:
    """Seconds that this thread has waited for a core since it began."""
    try:
        return int(_SCHEDULER.read_bytes().split()[1]) / 1e9
    except OSError:
        return 0.0


def timed(call: Callable[[], Any], times: int, before: Callable[[], Any] | None = None) -> dict[str, float]:
    """Times of some calls with the garbage collector off; `before` each of them, outside the clock."""
    clock = Clock()
    gc.collect()
    gc.disable()
    try:
        if before is None:
            clock.measure(call, times)
        else:
            for _ in range(times):
                before()
                clock.measure(call, 1)
    finally:
        gc.enable()
    return vars(clock)


def counted(call: Callable[[], Any], before: Callable[[], Any] | None = None) -> dict[str, int]:
    """What three calls take beside time, each counted in one of them, with the same result every time.

    `peak` is the most memory beyond what stood before, as far as Python's allocator and NumPy's tell. `calls` are those of
    functions, of Python and of C. `allocations` are the times that fresh memory was taken for an array of NumPy, the result of
    an operator of torch or a buffer of Arrow, also where it is given back at once; how often objects take theirs, Python does
    not say.
    """

    def fresh() -> None:
        if before is not None:
            before()
        gc.collect()

    fresh()
    tracemalloc.start()
    try:
        stood = tracemalloc.get_traced_memory()[0]
        call()
        peak = tracemalloc.get_traced_memory()[1] - stood
    finally:
        tracemalloc.stop()
    fresh()
    calls = 0

    def see(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    fresh()
    with _allocations() as number:
        call()
    return {"peak": max(0, peak), "calls": calls, "allocations": sum(one() for one in number)}


@contextmanager
def _allocations() -> Iterator[list[Callable[[], int]]]:
    """How often the libraries that this process has imported took memory, each as a function to ask at the end."""
    numbers: list[Callable[[], int]] = []
    with ExitStack() as stack:
        if "torch" in sys.modules:
            numbers.append(stack.enter_context(_tensors()))
        if "pyarrow" in sys.modules:
            pool = sys.modules["pyarrow"].default_memory_pool()
            stood = pool.num_allocations()
            numbers.append(lambda: pool.num_allocations() - stood)
        if "numpy" in sys.modules:
            arrays = _arrays()
            arrays.taken()
            stack.enter_context(arrays.noted())
            numbers.append(lambda: len(arrays.taken()))
        yield numbers


@cache
def _arrays() -> Any:
    """The file beside this one."""
    spec = importlib.util.spec_from_file_location("lora_perf_pairs_arrays", Path(__file__).with_name("arrays.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _tensors() -> Iterator[Callable[[], int]]:
    """How many results of torch's operators stand in memory of their own."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    number = 0

    def storages(values: Any) -> set[int]:
        return {one.untyped_storage()._cdata for one in tree_leaves(values) if isinstance(one, torch.Tensor)}

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal number
            found = operator(*args, **(kwargs or {}))
            number += len(storages(found) - storages((args, kwargs)))
            return found

    # The first time, torch imports what it needs to be watched.
    with Seen():  # type: ignore[no-untyped-call]
        torch.ones(1).clone()
    number = 0
    with Seen():  # type: ignore[no-untyped-call]
        yield lambda: number
