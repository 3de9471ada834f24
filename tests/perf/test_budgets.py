"""The first line of the guard: what each workload counts, against what it is allowed, on any machine.

The workloads are counted in fresh processes, as `python -m benchmarks.counters` does it: what other tests have imported,
cached or patched does not matter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import budgets, counters
from benchmarks.workloads import TABLE

ROOT = Path(__file__).parent.parent.parent
BUDGETS = budgets.load()
PROCESSES = 2


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, int]], str]:
    """The counts of all workloads, and what the processes that counted them said of errors."""
    others = BUDGETS.other_versions()
    if others:
        pytest.skip(f"counts are not comparable: {', '.join(others)} (pip install -c constraints.txt)")
    folder = tmp_path_factory.mktemp("counts")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    running = []
    for number in range(PROCESSES):
        names, output = list(TABLE)[number::PROCESSES], folder / f"{number}.json"
        command = [sys.executable, "-m", "benchmarks.counters", *names, "--output", str(output)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running.append((process, output))
    counts: dict[str, dict[str, int]] = {}
    errors = ""
    for process, output in running:
        errors += process.communicate(timeout=900)[1]
        counts |= json.loads(output.read_text()) if output.exists() else {}
    return counts, errors


def test_every_workload_has_budgets_and_every_budget_a_workload() -> None:
    assert sorted(BUDGETS.workloads) == sorted(TABLE), "python -m benchmarks.counters --update"


def test_every_counter_has_a_budget_in_every_workload_and_a_reason() -> None:
    assert set(BUDGETS.counters) == set(counters.MEANING)
    for name, counts in BUDGETS.workloads.items():
        assert list(counts) == list(counters.MEANING), name
        for counter in counts:
            assert len(BUDGETS.budget(name, counter).reason) > 20, f"{name}: {counter} has no reason"


def test_no_margin_hides_a_loss_of_a_tenth() -> None:
    for name, counts in BUDGETS.workloads.items():
        for counter in counts:
            assert BUDGETS.budget(name, counter).margin < 0.1, f"{name}: {counter}"


def test_budgets_were_taken_with_the_versions_that_are_pinned() -> None:
    lines = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name: version for name, version in lines if not name.startswith("#")}
    taken = {name: version for name, version in BUDGETS.versions.items() if name != "python"}
    assert taken == {name: pins[name] for name in budgets.PACKAGES}


@pytest.mark.parametrize("name", TABLE)
def test_counts_are_within_the_budgets(name: str, counted: tuple[dict[str, dict[str, int]], str]) -> None:
    counts, errors = counted
    assert name in counts, f"{name} was not counted: {errors}"
    violations = BUDGETS.violations(name, counts[name])
    assert not violations, "\n".join(["counts are not within their budgets", *map(str, violations)])
