"""Stages as ranges of time: which stood within which, in which thread, from when to when."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

OWN = "the trace itself"  # a stage of what it takes to write the operators of the last window
_WORTH = 1_000_000  # nanoseconds from which this is shown
Path = tuple[str, ...]  # names of stages, the outermost first


@dataclass(frozen=True, slots=True)
class Range:
    """A stage while it ran.

    Attributes:
        path: names of the stages that it stands in, and its own.
        thread: the system's number of its thread.
        begin, end: nanoseconds of the trace's clock.
    """

    path: Path
    thread: int
    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


class Clock:
    """Nanoseconds since 1970 that never go back, so that they stand beside those of PyTorch's profiler."""

    def __init__(self) -> None:
        self._since = time.time_ns() - time.perf_counter_ns()

    def now(self) -> int:
        return self._since + time.perf_counter_ns()


class Ranges:
    """Keeps the ranges of all threads; those of the thread that made it name what goes on.

    Args:
        entered: called in that thread, with the path, before a stage begins.
    """

    def __init__(self, clock: Clock, entered: Callable[[Path], object]) -> None:
        self.thread = threading.get_native_id()
        self.current: Path = ()
        self.found: list[Range] = []
        self._clock = clock
        self._entered = entered
        self._local = threading.local()

    def begin(self, name: str) -> None:
        opened = self._opened()
        path = (*opened[-1][0], name) if opened else (name,)
        if threading.get_native_id() == self.thread:
            before = self._clock.now()
            self._entered(path)
            after = self._clock.now()
            if opened and after - before >= _WORTH:  # what comes before the outermost stage is no part of it
                self.found.append(Range((*path[:-1], OWN), self.thread, before, after))
            self.current = path
        opened.append((path, self._clock.now()))

    def end(self) -> None:
        opened = self._opened()
        if not opened:  # it began before the trace
            return
        path, begin = opened.pop()
        thread = threading.get_native_id()
        self.found.append(Range(path, thread, begin, self._clock.now()))
        if thread == self.thread:
            self.current = path[:-1]

    def _opened(self) -> list[tuple[Path, int]]:
        try:
            return self._local.opened  # type: ignore[no-any-return]
        except AttributeError:
            opened: list[tuple[Path, int]] = []
            self._local.opened = opened
            return opened


class Timeline:
    """Which path a moment belongs to, by the ranges of one thread."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        moments = [(one.begin, 1, len(one.path), one.path) for one in ranges]
        moments += [(one.end, 0, -len(one.path), one.path[:-1]) for one in ranges]
        moments.sort(key=lambda one: one[:3])
        self._times = [moment for moment, *_ in moments]
        self._paths = [path for *_, path in moments]

    def at(self, moment: float) -> Path:
        """The innermost range at a moment."""
        place = bisect_right(self._times, moment) - 1
        return self._paths[place] if place >= 0 else ()


def overlap(ranges: Sequence[tuple[int, int]], windows: Sequence[tuple[int, int]]) -> int:
    """Nanoseconds that spans of time share with windows, which do not overlap each other.

    >>> overlap([(0, 10), (20, 30)], [(5, 22), (28, 40)])
    9
    """
    return sum(max(0, min(end, stop) - max(begin, start)) for begin, end in ranges for start, stop in windows)
