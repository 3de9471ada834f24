"""Measurements of the table as plain records, for reports."""

from __future__ import annotations

import datetime
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import corpora, measure, surface
from benchmarks.measure import Spread
from benchmarks.workloads import TABLE, Case

# A path that takes longer than this is timed in fewer rounds, so that a report takes minutes.
_PATIENCE_SECONDS = 10.0
_ROUNDS = (3, 7)


@dataclass(frozen=True)
class Timing:
    """Seconds of one path through the whole workload, and how many times the fast path's they are, pair by pair."""

    seconds: Spread
    ratio: Spread


@dataclass(frozen=True)
class Record:
    """One workload at one scale: the fast path, its baselines and its limit, timed in turn.

    Attributes:
        fast: seconds of the fast path.
        gb_per_s: bytes that it must touch over its median time.
        baselines: slow paths; those that do a share of the work have their time scaled up.
        limit: the least that the hardware has to do.
    """

    workload: str
    stage: str
    scale: str
    nbytes: int
    fast: Spread
    gb_per_s: float
    baselines: dict[str, Timing]
    limit: Timing | None


def record(name: str, scale: str) -> Record:
    """Measures one workload, after every path's result was checked."""
    case = TABLE[name].prepare(scale)
    case.checked()
    calls: dict[str, Callable[[], Any]] = {"fast": case.call}
    slowest = 0.0
    for baseline, slow in case.baselines.items():
        begin = time.perf_counter()
        slow.check(slow.call())
        slowest = max(slowest, time.perf_counter() - begin)
        calls[baseline] = slow.call
    if case.limit is not None:
        calls["limit"] = case.limit
    rounds = max(_ROUNDS[0], min(_ROUNDS[1], int(_PATIENCE_SECONDS / max(slowest, 1e-3))))
    times = measure.in_turn(calls, rounds=rounds, before=case.before)
    fast = Spread.of(times["fast"])
    return Record(
        workload=name,
        stage=TABLE[name].stage,
        scale=scale,
        nbytes=case.nbytes,
        fast=fast,
        gb_per_s=case.nbytes / fast.median / 1e9,
        baselines={one: _timing(times, one, case.baselines[one].share) for one in case.baselines},
        limit=_timing(times, "limit", 1.0) if case.limit is not None else None,
    )


def _timing(times: dict[str, list[float]], name: str, share: float) -> Timing:
    whole = [one / share for one in times[name]]
    return Timing(Spread.of(whole), Spread.of([slow / fast for slow, fast in zip(whole, times["fast"], strict=True)]))


def growth(sizes: Iterable[int], rounds: int = 3) -> dict[str, dict[int, Spread]]:
    """Seconds of opening, streaming and representing packed zoos of several sizes, sizes in turn."""
    import lora_perf

    def calls(n: int) -> dict[str, Callable[[], Any]]:
        path = corpora.path("packed", n)
        return {
            "open": lambda: lora_perf.load(path),
            "stream": lambda: [None for _ in lora_perf.load(path).blocks()],
            "represent stats, matrix_norms": lambda: lora_perf.represent(lora_perf.load(path), ["stats", "matrix_norms"]),
        }

    by_size = {n: calls(n) for n in sizes}
    found: dict[str, dict[int, Spread]] = {}
    for action in ("open", "stream", "represent stats, matrix_norms"):
        times = measure.in_turn({str(n): by_size[n][action] for n in by_size}, rounds=rounds)
        found[action] = {n: Spread.of(times[str(n)]) for n in by_size}
    return found


def memory(names: Iterable[str], scale: str) -> dict[str, tuple[int, int]]:
    """Peak of anonymous memory and bytes to touch of some workloads."""
    return {name: (measure.peak_nbytes(name, scale), _case(name, scale).nbytes) for name in names}


def _case(name: str, scale: str) -> Case:
    return TABLE[name].prepare(scale)


def circumstances() -> dict[str, Any]:
    """Versions, machine, commit and date: what a number has to come with."""
    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return {
        "date": datetime.date.today().isoformat(),
        "commit": git("rev-parse", "HEAD") or "unknown",
        "changed_files": len(git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "versions": surface.versions(),
        "machine": surface.machine(torch.device("cpu")),
    }


def plain(one: object) -> Any:
    """A record as values for JSON."""
    return asdict(one)  # type: ignore[call-overload]
