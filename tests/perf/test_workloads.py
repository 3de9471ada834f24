"""The table of workloads under pytest-benchmark: each path is checked, then timed beside its baselines and its limit.

`pytest` alone calls every path of the small workloads once. `pytest --benchmark-only` times them, one printed group a
workload; `--scale medium` takes the real sizes. Times in different lines of a group were not taken in turn: ratios to
quote come from `python -m benchmarks.report`.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import seconds
from benchmarks.table import Case
from benchmarks.workloads import TABLE

FAST, LIMIT = "lora_perf", "limit"
SECONDS = 0.4  # for the rounds of one path, so that all paths of the small scale take less than three minutes
MOST_ROUNDS = 50


@lru_cache(maxsize=1)  # the paths of one workload follow each other; the data of the one before are let go
def prepared(name: str, scale: str) -> tuple[Case, dict[str, float]]:
    """A case whose fast path was checked, and the medians of its paths as they become known."""
    case = TABLE[name].prepare(scale)
    case.checked()
    return case, {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scale = metafunc.config.getoption("--scale")
    paths = [
        pytest.param(one.name, path, id=f"{one.name}-{path}")
        for one in TABLE.values()
        if scale in one.scales
        for path in (*([LIMIT] if one.has_limit else []), FAST, *one.baselines)
    ]
    metafunc.parametrize(("name", "path"), paths)


def test_path(name: str, path: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    scale = request.config.getoption("--scale")
    case, medians = prepared(name, scale)
    share = 1.0
    if path == LIMIT:
        assert case.limit is not None
        call = case.limit
    elif path == FAST:
        call = case.call
    else:
        call, share = case.baselines[path].call, case.baselines[path].share
        case.baselines[path].check(call())
    benchmark.group = f"{TABLE[name].stage}: {name} ({scale})"
    benchmark.extra_info.update(nbytes=round(share * case.nbytes), share_of_work=share)
    if benchmark.disabled:
        benchmark(call)
        return
    if case.before is not None:
        case.before()
    rounds = max(1, min(MOST_ROUNDS, int(SECONDS / seconds(call))))  # the call that tells how long it takes also warms up
    benchmark.pedantic(call, setup=case.before, rounds=rounds)
    median = benchmark.stats.stats.median / share
    medians[path] = median
    benchmark.extra_info["gb_per_s"] = round(case.nbytes / median / 1e9, 3)
    if LIMIT in medians:
        benchmark.extra_info["times_the_limit"] = round(median / medians[LIMIT], 2)
