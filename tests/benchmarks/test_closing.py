"""What readers of `pytest --benchmark-only` see: times of the whole work in every line, and a table that closes the run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.closing import NOTE, closing_table
from tests.benchmarks import small
from tests.perf import test_workloads as runner

ROOT = Path(__file__).parents[2]


class Clock(BenchmarkFixture):
    """Stands in for the fixture of pytest-benchmark: every call takes two, three and four seconds."""

    def __init__(self) -> None:
        self.disabled = False
        self.name = self.group = ""
        self.extra_info: dict[str, float] = {}
        self.data = [2.0, 3.0, 4.0]
        self.stats = SimpleNamespace(stats=self)

    @property
    def median(self) -> float:
        return sorted(self.data)[1]

    def pedantic(self, call: object, **_: object) -> None:
        pass


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Clock], dict[str, float]]:
    """The paths of a workload whose baseline does a quarter of the work, and their times."""
    monkeypatch.setattr(runner, "TABLE", small.table())
    monkeypatch.setattr(runner, "seconds", lambda _: 1.0)
    runner.prepared.cache_clear()
    times: dict[str, dict[str, float]] = {}
    request = SimpleNamespace(config=SimpleNamespace(getoption=lambda _: "small"))
    clocks = {path: Clock() for path in ("limit", "lora_perf", "torch.tensor")}
    for path, clock in clocks.items():
        runner.test_path("load_nested", path, clock, times, request)  # type: ignore[arg-type]
    runner.prepared.cache_clear()
    return clocks, times["load_nested"]


def test_the_time_of_a_share_is_shown_as_that_of_the_whole_and_says_so(
    timed: tuple[dict[str, Clock], dict[str, float]],
) -> None:
    clocks, times = timed
    assert clocks["torch.tensor"].data == [8.0, 12.0, 16.0]
    assert clocks["torch.tensor"].name == "torch.tensor (from 25 % of the work)"
    assert clocks["lora_perf"].data == clocks["limit"].data == [2.0, 3.0, 4.0]
    assert clocks["lora_perf"].name == "lora_perf"
    assert times == {"limit": 3.0, "lora_perf": 3.0, "torch.tensor": 12.0}
    assert len({clock.group for clock in clocks.values()}) == 1


def test_rates_and_times_of_the_limit_are_of_the_whole_too(timed: tuple[dict[str, Clock], dict[str, float]]) -> None:
    slow, fast = timed[0]["torch.tensor"].extra_info, timed[0]["lora_perf"].extra_info
    assert (slow["times_the_limit"], fast["times_the_limit"]) == (4.0, 1.0)
    assert slow["nbytes"] == fast["nbytes"] == 4_000
    assert slow["share_of_work"] == 0.25


def test_the_closing_table_has_the_factors_of_each_workload() -> None:
    times = {
        "load_nested": {"limit": 0.01, "lora_perf": 0.02, "torch.tensor": 2.4, "with_format-torch": 20.0},
        "open_packed": {"lora_perf": 0.0005},
        "train": {"limit": 1.0, "lora_perf": 1.5, "DataLoader": 0.75},
        "only_the_limit": {"limit": 1.0},
    }
    head, *rows, one, two = closing_table(times)
    assert head.split("  ")[0] == "workload"
    assert [" ".join(row.split()) for row in rows] == [
        "load_nested 20.0 ms 2.00 torch.tensor 120x · with_format-torch 1,000x",
        "open_packed 500 us",
        "train 1.50 s 1.50 DataLoader 0.500x (it is the faster one)",
    ]
    assert (one, two) == NOTE
    assert closing_table({}) == closing_table({"one": {"limit": 1.0}}) == []


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, in the root of the repository."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # as no worker of ours
    clean["COLUMNS"] = "120"
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)


def test_only_benchmarks_are_collected_and_the_closing_table_ends_the_run() -> None:
    done = run_pytest("--benchmark-only", "-k", "split_original")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert "2 passed" in done.stdout
    columns = next(line for line in done.stdout.splitlines() if line.startswith("Name (time in"))
    assert columns.split()[-2:] == ["Median", "Rounds"]
    closing = done.stdout.partition("what lora_perf gains (small)")[2]
    assert "split_original" in closing
    assert closing.count("\n") < 8


@pytest.mark.skipif(find_spec("pygal") is not None, reason="pygal is here")
def test_a_histogram_without_its_library_is_refused_in_one_line() -> None:
    done = run_pytest("--benchmark-only", "--benchmark-histogram=drawn")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.strip() == "ERROR: --benchmark-histogram needs pygal: pip install 'pytest-benchmark[histogram]'"
