"""The table of workloads under pytest-benchmark: each path is checked, then timed beside its baselines and its limit.

`pytest --benchmark-only` times them, one printed group a workload and a closing table; `--scale medium` takes the real sizes.
Every time that is shown is that of the whole work, so that lines compare. They were not taken in turn: ratios to quote come
from `python -m benchmarks.report`. Where nothing is timed, one workload of each kind shows that this runner works:
`tests/benchmarks` calls and checks every path.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.closing import FAST, LIMIT, name_of_path
from benchmarks.measure import seconds
from benchmarks.suite import today
from benchmarks.table import TABLE, Case

today.fill_table(looking=False)  # over an older package (`--pairs-tests here`), without the workloads that it cannot import

SECONDS = 0.4  # for the rounds of one path, so that all paths of the small scale take less than three minutes
MOST_ROUNDS = 50
KINDS = ("load_nested", "open_packed_cold", "split_original")  # with a limit and shares, with work before, with neither


@lru_cache(maxsize=1)  # the paths of one workload follow each other; the data of the one before are let go
def prepared(name: str, scale: str) -> Case:
    """A case whose fast path was checked."""
    case = TABLE[name].prepare(scale)
    case.checked()
    return case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scale, untimed = (metafunc.config.getoption(name) for name in ("--scale", "--benchmark-disable"))
    paths = [
        pytest.param(one.name, path, id=f"{one.name}-{path}")
        for one in TABLE.values()
        if scale in one.scales and (one.name in KINDS or not untimed)
        for path in (*([LIMIT] if one.has_limit else []), FAST, *one.baselines)
    ]
    metafunc.parametrize(("name", "path"), paths)


def test_path(
    name: str,
    path: str,
    benchmark: BenchmarkFixture,
    times: dict[str, dict[str, float]],
    request: pytest.FixtureRequest,
) -> None:
    scale = request.config.getoption("--scale")
    paired = not isinstance(benchmark, BenchmarkFixture)  # that of `pytest --pairs`, which takes rounds as it needs them
    if paired:
        prepared.cache_clear()  # and asks for data anew, so that they lie elsewhere in memory
    case = prepared(name, scale)
    share = 1.0
    if path == LIMIT:
        assert case.limit is not None
        call = case.limit
    elif path == FAST:
        call = case.call
    else:
        call, share = case.baselines[path].call, case.baselines[path].share
        case.baselines[path].check(call())
    benchmark.group = f"{name} ({scale}): {TABLE[name].about}"
    benchmark.name = name_of_path(path, share)
    benchmark.extra_info.update(nbytes=case.nbytes, share_of_work=share)
    if benchmark.disabled:
        benchmark(call)
        return
    if paired:
        benchmark.pedantic(call, setup=case.before)
        return
    if case.before is not None:
        case.before()
    rounds = max(1, min(MOST_ROUNDS, int(SECONDS / seconds(call))))  # the call that tells how long it takes also warms up
    benchmark.pedantic(call, setup=case.before, rounds=rounds)
    stats = benchmark.stats.stats
    if share != 1:
        stats.data[:] = [taken / share for taken in stats.data]
    medians = times.setdefault(name, {})
    medians[path] = stats.median
    benchmark.extra_info["gb_per_s"] = round(case.nbytes / stats.median / 1e9, 3)
    if LIMIT in medians:
        benchmark.extra_info["times_the_limit"] = round(stats.median / medians[LIMIT], 2)
