"""What calls take: times, and beside them memory and calls within. It stands alone, as `worker.py` does, which loads it."""

from __future__ import annotations

import gc
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
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
    """What one call takes of memory at its most beyond what stood before, as far as Python's allocator and NumPy's tell, and
    how many functions it calls, of Python and of C.
    """
    if before is not None:
        before()
    gc.collect()
    tracemalloc.start()
    stood = tracemalloc.get_traced_memory()[0]
    call()
    peak = tracemalloc.get_traced_memory()[1] - stood
    tracemalloc.stop()
    if before is not None:
        before()
    calls = 0

    def see(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {"peak": max(0, peak), "calls": calls}
