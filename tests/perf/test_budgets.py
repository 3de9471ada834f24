"""The first line of the guard: what each workload costs in calls, copies and bytes, against its budget, on any machine.

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
from benchmarks.corpora import ROOT
from benchmarks.workloads import TABLE

BUDGETS = budgets.load()
PROCESSES = 2


def test_counts_are_within_the_budgets(tmp_path: Path) -> None:
    others = BUDGETS.other_versions()
    if others:
        pytest.skip(f"counts are not comparable: {', '.join(others)} (pip install -c constraints.txt)")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    names = [list(TABLE)[number::PROCESSES] for number in range(PROCESSES)]
    outputs = [tmp_path / f"{number}.json" for number in range(PROCESSES)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.counters", *some, "--output", str(output)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for some, output in zip(names, outputs, strict=True)
    ]
    errors = "".join(process.communicate(timeout=900)[1] for process in running)
    counts = {name: found for output in outputs if output.exists() for name, found in json.loads(output.read_text()).items()}
    assert sorted(counts) == sorted(TABLE), errors
    violations = [str(one) for name, found in counts.items() for one in BUDGETS.violations(name, found)]
    assert not violations, "\n".join(["counts are above their budgets", *violations])


def test_every_workload_has_budgets_and_none_hides_a_loss_of_a_tenth() -> None:
    assert sorted(BUDGETS.workloads) == sorted(TABLE), "python -m benchmarks.counters --update"
    assert list(BUDGETS.counters) == list(counters.MEANING)
    for name, values in BUDGETS.workloads.items():
        assert set(values) <= set(counters.MEANING), name
        for counter in values:
            one = BUDGETS.budget(name, counter)
            assert one.margin < 0.1, f"{name}: {counter}"
            assert one.slack <= (200 if counter.endswith(("calls", "modules")) else 1 << 15), f"{name}: {counter}"
            assert len(one.reason) > 20, f"{name}: {counter} has no reason"


def test_budgets_were_taken_with_the_versions_that_are_pinned() -> None:
    lines = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name: version for name, version in lines if not name.startswith("#")}
    taken = {name: version for name, version in BUDGETS.versions.items() if name != "python"}
    assert taken == {name: pins[name] for name in budgets.PACKAGES}
