"""What is counted while a program runs: calls, values, bytes and seconds by line and kind."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_EVERY = 1000  # calls of a line, beyond which one in _SAMPLED is timed
_SAMPLED = 16
_LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_paths()[name]) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_OWN = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep


@dataclass
class Entry:
    """The calls of one kind from one line.

    Attributes:
        calls: all of them.
        timed: those of which `seconds` is the sum.
        values, nbytes: of the data that changed form or place.
        most: of the values of one call.
        keys: how often each thing was read: columns of a data set, paths.
    """

    calls: int = 0
    timed: int = 0
    seconds: float = 0.0
    values: int = 0
    nbytes: int = 0
    most: int = 0
    keys: dict[Any, int] = field(default_factory=dict)

    @property
    def whole(self) -> float:
        """Seconds of all calls, by those that were timed."""
        return self.seconds * self.calls / self.timed if self.timed else 0.0


class Ledger:
    """Entries by (file, line, kind). Any number of threads may write; a process that was forked off writes none."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int, str], Entry] = {}
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._inside = threading.local()
        self.users: dict[CodeType, bool] = {}
        self.listeners: tuple[Ledger, ...] = ()  # that are told of every call, too

    def place(self, depth: int = 2) -> tuple[str, int] | None:
        """The file and line that made the call, where it is one of the program's own and no other call is on its way."""
        frame: FrameType = sys._getframe(depth)
        code = frame.f_code
        own = self.users.get(code)
        if own is None:
            own = self.users[code] = is_of_user(code.co_filename)
        if not own or getattr(self._inside, "busy", False):
            return None
        return code.co_filename, frame.f_lineno

    def call(
        self,
        place: tuple[str, int],
        function: Callable[[], T],
        size: Callable[[T], tuple[str, int, int, Any] | None],
    ) -> T:
        """Makes a call and counts it.

        Args:
            size: of the result: kind, values, bytes, and what was read (or None); None where it is nothing to count. Where it
                fails, nothing is counted: what a library or the program itself makes of such a thing is not known here.
        """
        self._inside.busy = True
        begin = time.perf_counter()
        try:
            found = function()
        finally:
            spent = time.perf_counter() - begin
            self._inside.busy = False
        self._inside.busy = True  # what a size is asked for may be of the program's own, and is no call of it
        try:
            told = size(found)
        except Exception:  # of a kind that nobody thought of: the program goes on as if nobody had asked
            told = None
        finally:
            self._inside.busy = False
        if told is not None:
            self.add(place, told[0], spent, told[1], told[2], told[3])
        return found

    def add(self, place: tuple[str, int], kind: str, spent: float | None, values: int, nbytes: int, key: Any = None) -> None:
        with self._lock:
            entry = self.entries.setdefault((*place, kind), Entry())
            entry.calls += 1
            if spent is not None:
                entry.timed += 1
                entry.seconds += spent
            entry.values += values
            entry.nbytes += nbytes
            entry.most = max(entry.most, values)
            if key is not None and (key in entry.keys or len(entry.keys) < 10_000):
                entry.keys[key] = entry.keys.get(key, 0) + 1
        for listener in self.listeners:
            listener.add(place, kind, spent, values, nbytes, key)

    def is_timed(self, place: tuple[str, int], kind: str) -> bool:
        """Whether a call of many is one of those whose clock is read."""
        entry = self.entries.get((*place, kind))
        return entry is None or entry.calls < _EVERY or entry.calls % _SAMPLED == 0

    def iterated(
        self, place: tuple[str, int], kind: str, items: Iterator[T], size: Callable[[T], tuple[int, int]], key: Any
    ) -> Iterator[T]:
        """The items, with the time that each takes to come."""
        first = True
        while True:
            timed = self.is_timed(place, kind)
            self._inside.busy = True
            begin = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                spent = time.perf_counter() - begin
                self._inside.busy = False
            self.add(place, kind, spent if timed else None, *size(item), key if first else None)
            first = False
            yield item


def is_of_user(filename: str) -> bool:
    """Whether a file is one of the program, and of no library."""
    if filename.startswith("<"):
        return filename.startswith(("<ipython", "<stdin", "<doctest"))
    path = os.path.realpath(filename)
    return not path.startswith((*_LIBRARIES, _OWN)) and f"{os.sep}site-packages{os.sep}" not in path
