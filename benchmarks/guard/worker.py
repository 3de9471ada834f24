"""One side of a pair: today's workloads on the `lora_perf` that stands first on the path of this process.

`python -P -m benchmarks.guard.worker REQUESTS ANSWERS` reads one JSON request a line from the first pipe and writes one JSON
answer a line to the second, until the first ends. How calls are timed is read from this tree, whatever package is measured.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import Any

from benchmarks.suite import today
from benchmarks.table import TABLE, Case

_ENGINE = today.ROOT / "lora_perf" / "pairs" / "worker.py"


def _loaded() -> ModuleType:
    """How calls are timed, from this tree: the package on the path may be one that had no such file."""
    spec = importlib.util.spec_from_file_location("lora_perf_pairs_worker", _ENGINE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_engine = _loaded()

Answer = dict[str, Any]


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
        end = time.monotonic() + _engine.TRIAL_SECONDS
        while seconds < _engine.SLOW_SECONDS and time.monotonic() < end:
            seconds = min(seconds, self.run(1)["wall"])
        return {"seconds": seconds}

    def run(self, calls: int) -> Answer:
        """Times of some calls, with the garbage collector off and the case's `before` outside the clock."""
        assert self._case is not None, "prepare comes first"
        found: Answer = _engine.timed(self._case.call, calls, self._case.before)
        return found

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

    def answers(self, requests: Iterable[str]) -> Iterator[Answer]:
        """One answer a request; what a request raises is its answer."""
        actions: dict[str, Any] = {
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


def main(arguments: list[str]) -> None:
    """Tells what is measured, then serves the requests until they end."""
    requests, answers = os.fdopen(int(arguments[0])), os.fdopen(int(arguments[1]), "w")
    served = Worker().answers(chain(['{"do": "hello"}'], iter(requests.readline, "")))
    for answer in served:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
