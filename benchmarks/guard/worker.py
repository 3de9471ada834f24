"""One side of a pair: today's workloads on the `lora_perf` that stands first on the path of this process.

`python -P -m benchmarks.guard.worker` reads one JSON request a line and writes one JSON answer a line, until its input ends.
Nothing else reaches its output: what workloads print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from benchmarks.suite import today
from benchmarks.table import TABLE, Case

SAMPLE_SECONDS = 0.005  # a sample of shorter calls repeats them: clocks and pipes cost some microseconds
SLOW_SECONDS = 0.5  # a first call that takes longer needs no second one to tell how long it takes, or to warm up
_TRIAL_SECONDS = 0.02
_SCHEDULER = Path("/proc/thread-self/schedstat")

Answer = dict[str, Any]


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


def _check(case: Case) -> float:
    """Seconds of one call, whose result was checked."""
    if case.before is not None:
        case.before()
    begin = time.perf_counter()
    result = case.call()
    seconds = time.perf_counter() - begin
    case.check(result)
    return seconds


class Worker:
    """Holds the case of one workload at a time."""

    def __init__(self) -> None:
        self._name = ""
        self._case: Case | None = None
        self._missing: dict[str, str] = {}

    def hello(self) -> Answer:
        """The package that is measured; fills the table with all workloads that it can import."""
        import lora_perf

        for stage in today.stages():
            try:
                import_module(stage)
            except (ImportError, AttributeError) as error:
                self._missing[stage] = f"{type(error).__name__}: {error}"
        return {"package": str(lora_perf.__file__)}

    def prepare(self, workload: str, scale: str) -> Answer:
        """Makes the case and checks a call of it; answers the seconds of the fastest of this and some further calls."""
        if workload not in TABLE:
            raise LookupError(f"no workload {workload}; files that cannot be imported: {self._missing}")
        self._case = None
        gc.unfreeze()
        gc.collect()
        case = TABLE[workload].prepare(scale)
        seconds = _check(case)
        self._name, self._case = workload, case
        # What stands now is no garbage of the calls: the collector need not look at it before every sample.
        gc.collect()
        gc.freeze()
        end = time.monotonic() + _TRIAL_SECONDS
        while seconds < SLOW_SECONDS and time.monotonic() < end:
            seconds = min(seconds, self.run(1)["wall"])
        return {"seconds": seconds}

    def run(self, calls: int) -> Answer:
        """Times of some calls, with the garbage collector off and the case's `before` outside the clock."""
        assert self._case is not None, "prepare comes first"
        clock = Clock()
        gc.collect()
        gc.disable()
        try:
            if self._case.before is None:
                clock.measure(self._case.call, calls)
            else:
                for _ in range(calls):
                    self._case.before()
                    clock.measure(self._case.call, 1)
        finally:
            gc.enable()
        return {"wall": clock.wall, "own": clock.own, "cpu": clock.cpu}

    def count(self) -> Answer:
        """Where the counts of the prepared workload break its budget."""
        from benchmarks import budgets, counters

        assert self._case is not None, "prepare comes first"
        broken = budgets.load().violations(self._name, counters.count(self._case))
        return {
            "violations": [
                {"counter": one.counter, "budget": one.budget and one.budget.value, "found": one.found} for one in broken
            ]
        }

    def answers(self, requests: TextIO) -> Iterator[Answer]:
        """One answer a request; what a request raises is its answer."""
        actions: dict[str, Callable[..., Answer]] = {
            "hello": self.hello,
            "prepare": self.prepare,
            "run": self.run,
            "count": self.count,
        }
        for line in requests:
            request = json.loads(line)
            try:
                yield actions[request.pop("do")](**request)
            except Exception as error:
                yield {"error": type(error).__name__, "message": str(error)}


def main() -> None:
    """Serves standard input until it ends."""
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        for answer in Worker().answers(sys.stdin):
            output.write(json.dumps(answer) + "\n")
            output.flush()


if __name__ == "__main__":
    main()
