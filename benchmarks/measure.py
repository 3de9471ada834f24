"""Timing that means something on a shared machine: calls in turn, ratios of pairs, medians and spreads.

Absolute times on such machines differ by tens of per cent from minute to minute; two calls one after the other do not.
So everything that is compared is timed in turn, in both orders, and compared pair by pair.
"""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some measurements."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def text(self) -> str:
        """Median and quartiles to three digits, and the rounds where there were several."""
        if self.rounds == 1:
            return digits(self.median)
        return f"{digits(self.median)} ({digits(self.low)} to {digits(self.high)}, {self.rounds} rounds)"


def digits(value: float) -> str:
    """A number to three digits, without an exponent: 0.00128, 1.30, 1,060."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.3g}")  # first: 99.96 is 100, which has no place behind the point
    places = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}"


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def in_turn(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, before: Callable[[], Any] | None = None
) -> dict[str, list[float]]:
    """Seconds of several calls, timed in turn: forwards and backwards by round, so that each has the same predecessors.

    The first round warms up and does not count. The garbage collector runs between calls, not inside them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    enabled = gc.isenabled()
    try:
        for turn in range(rounds + 1):
            for name in names if turn % 2 else reversed(names):
                gc.collect()
                gc.disable()
                if before is not None:
                    before()
                taken = seconds(calls[name])
                if enabled:
                    gc.enable()
                if turn:
                    times[name].append(taken)
    finally:
        if enabled:
            gc.enable()
    return times


def ratios(times: dict[str, list[float]], over: str, under: str) -> Spread:
    """The paired ratios of two calls that were timed in turn."""
    return Spread.of([a / b for a, b in zip(times[over], times[under], strict=True)])


# The growth of anonymous memory at its peak: pages of mapped files are the system's to drop, so they do not count.
_PEAK = """
import sys, threading, time
sys.path.insert(0, {root!r})
from benchmarks import workloads
case = workloads.TABLE[{name!r}].prepare({scale!r})
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024
base, peak, done = anonymous(), 0, threading.Event()
def watch():
    global peak
    while not done.is_set():
        peak = max(peak, anonymous())
        time.sleep(0.001)
thread = threading.Thread(target=watch); thread.start()
result = case.call()
done.set(); thread.join()
print(max(peak, anonymous()) - base)
"""


def peak_nbytes(name: str, scale: str) -> int:
    """Bytes of anonymous memory that one call of a workload takes at its peak, in a process of its own (Linux)."""
    code = _PEAK.format(root=str(Path(__file__).parent.parent), name=name, scale=scale)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])
