"""Ways timed in turn, each on as much of the data set as its time allows, and scaled to the whole."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_perf.core.profiling import stage

_ROUND = 0.25  # seconds that a call of a round should take
_ROUNDS = 3
_COLUMNS = 6  # weight columns of a sample
_COPY_NBYTES = 128 << 20
_COUNTED_VALUES = 50_000  # of which, at least, objects and calls are counted


@dataclass
class Timed:
    """A call of a way on a sample of so many adapters, which is at least what it is made with."""

    call: Callable[[int], Any]
    most: int
    rows: int
    seconds: list[float] = field(default_factory=list)
    peak: float | None = None
    error: str = ""
    name: str = "call"

    def __post_init__(self) -> None:
        self.least = self.rows


def spread_over(columns: Sequence[str], count: int = _COLUMNS) -> list[str]:
    """Some columns from all over a table, in its order, of downs and ups alike.

    >>> spread_over([f"c{i}" for i in range(40)], 4)
    ['c0', 'c13', 'c26', 'c39']
    """
    places = np.linspace(0, len(columns) - 1, min(count, len(columns))).round().astype(int)
    return [columns[place] for place in dict.fromkeys(places.tolist())]


def in_turn(calls: Sequence[Timed], budget: float) -> None:
    """Times calls: first each for how many adapters a round takes, then all of them in turns, as long as the budget lasts."""
    end = time.perf_counter() + budget
    share = budget / max(1, len(calls)) / (_ROUNDS + 2)
    for one in calls:
        _find_size(one, min(_ROUND, share), end)
    for _ in range(_ROUNDS):
        for one in calls:
            if one.error or (one.seconds and time.perf_counter() + one.seconds[-1] > end):
                continue
            if (spent := _seconds(one)) is not None:
                one.seconds.append(spent)


def _find_size(one: Timed, target: float, end: float) -> None:
    """How many adapters a call takes to last for a round; a call that lasts longer already is a round itself."""
    while True:
        spent = _seconds(one)
        if spent is None:
            return
        if spent >= 0.5 * target or one.rows >= one.most or time.perf_counter() > end:
            if spent > target:
                one.seconds.append(spent)
            return
        one.rows = min(one.most, max(one.rows + 1, int(one.rows * min(16.0, target / max(spent, 1e-6)))))


def _seconds(one: Timed) -> float | None:
    """Of a call; None where it raised."""
    with stage(one.name), peak_memory() as grown:
        begin = time.perf_counter()
        try:
            found = one.call(one.rows)
        except Exception as error:  # of whatever library reads; it is a finding
            one.error = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:200]}"
        spent = time.perf_counter() - begin
        found = None  # noqa: F841 - freed outside of the clock
    if grown:
        one.peak = max(grown[0], one.peak or 0.0)
    return None if one.error else spent


@contextlib.contextmanager
def peak_memory() -> Any:
    """Yields a list that holds, after the block, the bytes of resident memory at its peak beyond those before; or nothing."""
    found: list[float] = []
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
        before = _told(status, "VmRSS")
    except (OSError, ValueError, StopIteration):
        yield found
        return
    yield found
    with contextlib.suppress(OSError, ValueError, StopIteration):
        found.append(max(0.0, _told(status, "VmHWM") - before))


def _told(status: Path, name: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return 1024.0 * float(line.split()[1])


@cache
def copy_rate() -> float:
    """Bytes a second of a copy into fresh memory, on as many threads as torch has, measured once: the least of any reading."""
    nbytes = _COPY_NBYTES
    source = torch.ones(nbytes // 4)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        torch.empty_like(source).copy_(source)
        times.append(time.perf_counter() - begin)
    return nbytes / statistics.median(times)


def counted(call: Callable[[int], Any], values: int, least: int, most: int) -> tuple[float, float | None]:
    """Calls (of Python and of what it calls) an adapter, and bytes of objects a value, of a small sample."""
    rows = min(max(least, _COUNTED_VALUES // max(1, values)), most)
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call(rows)
    except Exception:  # told by its timing
        return 0.0, None
    finally:
        sys.setprofile(before)
    if tracemalloc.is_tracing() or os.environ.get("PYTHONTRACEMALLOC"):
        return calls / rows, None
    tracemalloc.start()
    try:
        kept = call(rows)
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return calls / rows, peak / max(1, rows * values)
