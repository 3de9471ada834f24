"""The table of workloads as a suite of `pytest --pairs`: that of `tests/perf`, whose fast paths the guard compares."""

from __future__ import annotations

from pathlib import Path

from benchmarks.closing import FAST
from lora_perf.pairs.compare import Bench
from lora_perf.pairs.packages import Packages
from lora_perf.pairs.sessions import Sessions, Trees

PACKAGE = "lora_perf"
# Compared once more on two threads: a lost thread, or one that waits for the other, costs nothing where there is one.
ON_TWO_THREADS = ("load_nested", "train_ten_runs")
_FILE = "tests/perf/test_workloads.py"
_BEFORE, _AFTER = f"{_FILE}::test_path[", f"-{FAST}]"


def arguments(root: Path, scale: str) -> tuple[str, ...]:
    """Those of pytest, for all workloads of a scale."""
    return (str(root / _FILE), "--benchmark-enable", "--scale", scale)


def test_of(workload: str) -> str:
    """The test that calls a workload, as both sides name it."""
    return f"{_BEFORE}{workload}{_AFTER}"


def workload_of(test: str) -> str:
    """The workload that a test calls; nothing where it calls a slow path or a limit."""
    fast = test.startswith(_BEFORE) and test.endswith(_AFTER)
    return test.removeprefix(_BEFORE).removesuffix(_AFTER) if fast else ""


def bench_of(base: Path, change: Path, scale: str, root: Path, threads: int = 1) -> Bench:
    """The workloads of a tree over the packages in two folders."""
    both = Trees(root, root, root, arguments(root, scale), Packages((PACKAGE,), base, change), threads)
    return Bench(lambda: Sessions(both))
