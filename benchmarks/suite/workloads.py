"""One class a workload of the table: time, peak memory, repeatable counts, and time over that of each slow path.

asv runs the benchmarks of today's tree on the package of any commit. A workload that a commit lacks is "n/a" there; one
whose result is wrong fails, and is never timed.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from . import today

MISSING = today.fill_table()  # makes `benchmarks` importable, and so comes before what is imported from there

import xxhash  # noqa: E402

import lora_perf  # noqa: E402
from benchmarks import counters, measure  # noqa: E402
from benchmarks.table import TABLE, Case, Workload  # noqa: E402

# Times and peaks of these stages are also taken at the scale where memory, not the interpreter, decides; everything else
# is taken at the smallest scale, so that a run of the whole suite takes minutes.
MEDIUM_STAGES = ("loading",)
PAIRS = 5  # of a call and its slow path, timed in turn
BENCHMARKS = today.BENCHMARKS

# What an older commit may raise for a workload that it cannot do. An assertion is none of them: a wrong result fails.
_LACKS = (ImportError, AttributeError, TypeError, getattr(lora_perf, "LoraPerfError", ImportError))


class Word(str):
    """A parameter that the pages of asv show as it is, without the quotes of a string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@contextmanager
def may_be_lacking() -> Iterator[None]:
    """Marks as "n/a" what the commit under measurement cannot do; this tree's own package has no such excuse."""
    try:
        yield
    except _LACKS as error:
        if not today.differs():
            raise
        raise NotImplementedError(f"this commit lacks it: {type(error).__name__}: {error}") from error


@cache
def prepared(workload: Workload, scale: str) -> Case:
    """The case, made once a process."""
    with may_be_lacking():
        return workload.prepare(scale)


@cache
def checked(workload: Workload, scale: str) -> Case:
    """The case after one call whose result was right, which also warms up."""
    case = prepared(workload, scale)
    with may_be_lacking():
        case.checked()
    return case


def version(workload: Workload, methods: Iterable[Callable[..., Any]], patterns: Iterable[str] = ()) -> str:
    """A hash of the workload's version, of the sources of the methods, and of further files that decide what is measured."""
    digest = xxhash.xxh3_64(workload.version.encode())
    for method in methods:
        digest.update(inspect.getsource(method).encode())
    for pattern in patterns:
        files = sorted(BENCHMARKS.glob(pattern))
        assert files, f"no file of benchmarks is called {pattern}"
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _time_call(workload: Workload) -> Callable[..., None]:
    """Wall time; `setup` runs before each call and does what has to be done outside the clock."""

    def setup(scale: str) -> None:
        case = checked(workload, scale)
        if case.before is not None:
            case.before()

    def run(_: Any, scale: str) -> None:
        checked(workload, scale).call()

    return _benchmark(run, setup, workload, "time of a call", scales=_scales(workload))


def _peakmem_call(workload: Workload) -> Callable[..., None]:
    """Peak of the process's memory, from the prepared case on where the system can start a peak afresh (Linux).

    The result is checked when the peak was read, since checks hold copies.
    """
    results: list[Any] = []

    def setup(scale: str) -> None:
        case = prepared(workload, scale)
        if case.before is not None:
            case.before()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def run(_: Any, scale: str) -> None:
        with may_be_lacking():
            results.append(prepared(workload, scale).call())

    def teardown(scale: str) -> None:
        while results:
            prepared(workload, scale).check(results.pop())

    return _benchmark(run, setup, workload, "peak memory", scales=_scales(workload), teardown=teardown)


def _track_calls_per_layer(workload: Workload) -> Callable[..., float]:
    """Calls of Python functions and of builtin ones per layer."""

    def run(_: Any, scale: str) -> float:
        case = checked(workload, scale)
        return counters.count_calls(case.call, before=case.before)["calls"] / case.layers

    return _benchmark(run, _check_first(workload), workload, "calls per layer", unit="calls", files=("counters/*.py",))


def _track_copied_over_bytes(workload: Workload) -> Callable[..., float]:
    """Bytes that torch writes and that NumPy and Arrow take over the bytes that the workload has to touch."""

    def run(_: Any, scale: str) -> float:
        case = checked(workload, scale)
        found = counters.count_memory(case.call, before=case.before)
        return (found["written_nbytes"] + found["allocated_nbytes"]) / case.nbytes

    return _benchmark(
        run, _check_first(workload), workload, "bytes copied over bytes to touch", unit="ratio", files=("counters/*.py",)
    )


def _track_time_over_baseline(workload: Workload) -> Callable[..., float]:
    """Time over that of a slow path through the same work, as the median of pairs that were timed in turn.

    It is 1 over the speed-up: asv takes every value that grows for a loss, so a tracked speed-up would alarm when it wins.
    """

    def run(_: Any, scale: str, baseline: str) -> float:
        case = checked(workload, scale)
        slow = case.baselines[baseline]
        slow.check(slow.call())
        times = measure.in_turn({"fast": case.call, "slow": slow.call}, rounds=PAIRS, before=case.before)
        return measure.ratios(times, "fast", "slow").median * slow.share

    title = "share of the time of each slow path"
    found = _benchmark(run, _check_first(workload), workload, title, unit="ratio", files=("measure.py",))
    found.params = [*found.params, [Word(one) for one in workload.baselines]]  # type: ignore[attr-defined]
    found.param_names = ["scale", "baseline"]  # type: ignore[attr-defined]
    return found


def _check_first(workload: Workload) -> Callable[..., None]:
    def setup(scale: str, *_: str) -> None:
        checked(workload, scale)

    return setup


def _scales(workload: Workload) -> list[str]:
    chosen = ("small", "medium") if workload.stage in MEDIUM_STAGES else workload.scales[:1]
    return [scale for scale in workload.scales if scale in chosen]


def _benchmark(
    run: Callable[..., Any],
    setup: Callable[..., None],
    workload: Workload,
    title: str,
    *,
    scales: list[str] | None = None,
    teardown: Callable[..., None] | None = None,
    unit: str | None = None,
    files: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """A method with what asv reads from its attributes."""
    attributes: dict[str, Any] = {
        "setup": setup,
        "teardown": teardown,
        "unit": unit,
        "version": version(workload, filter(None, (run, setup, teardown)), files),
        "pretty_name": f"{workload.name}: {title}",
        "pretty_source": f"# {workload.name}: {workload.about}\n{inspect.getsource(workload.prepare)}",
        "params": [[Word(scale) for scale in scales or workload.scales[:1]]],
        "param_names": ["scale"],
    }
    for name, value in attributes.items():
        if value is not None:
            setattr(run, name, value)
    # What the pages show for its code is the workload, under no class, and nothing of this file.
    run.__qualname__ = run.__name__
    setup.pretty_source = ""  # type: ignore[attr-defined]
    return run


def suite_class(workload: Workload) -> type:
    """The class of a workload. One call a sample, since `setup` stands between calls; the check has warmed up."""
    members: dict[str, Any] = {
        "__doc__": workload.name,
        "__module__": __name__,
        "timeout": 300,
        "rounds": 2,
        "repeat": (3, 10, 2.0),
        "number": 1,
        "warmup_time": 0,
        "time_call": _time_call(workload),
        "peakmem_call": _peakmem_call(workload),
        "track_calls_per_layer": _track_calls_per_layer(workload),
        "track_copied_over_bytes": _track_copied_over_bytes(workload),
    }
    if workload.baselines:
        members["track_time_over_baseline"] = _track_time_over_baseline(workload)
    return type(workload.name, (), members)


def __getattr__(name: str) -> type:
    """Stands in for the class of a workload whose file the commit under measurement cannot import: "n/a" throughout.

    asv also asks a module for `setup_cache`, `teardown` and the like, so only names of workloads get an answer: every
    workload has a budget.
    """
    if not MISSING or name not in json.loads((BENCHMARKS / "budgets.json").read_bytes())["workloads"]:
        raise AttributeError(name)

    def prepare(_: str) -> Case:
        raise NotImplementedError(f"this commit lacks it: {MISSING}")

    # asv asks for one of the parameters by its position in the list of today's class; any list as long does.
    return suite_class(Workload(name, MEDIUM_STAGES[0], ("small", "medium"), prepare, tuple("abcdefghi")))


globals().update({name: suite_class(workload) for name, workload in TABLE.items()})
