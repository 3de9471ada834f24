"""Calls, by the hook that Python has for profilers, and the memory that Python and NumPy held meanwhile."""

from __future__ import annotations

import pathlib
import posixpath
import sys
import threading
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

from benchmarks.counters import children
from benchmarks.counters.quiet import quiet

_FILE = ("open", "read", "readinto", "readall", "readline", "preadv", "pread", "write", "pwrite", "pwritev", "sendfile")
# What these do depends on how deep the folder is in which the data happen to stand; files that they open count.
_PATHS = frozenset(str(module.__file__) for module in (pathlib, posixpath))
_HOOK = "setprofile"  # called in each thread that starts, and at the end


class _Tally:
    """Counts of calls, without those that only follow from where the data stand.

    Methods of compiled classes (pyarrow's) and of operators (`a[i] = b`) raise no event: what they take is seen as memory.
    """

    def __init__(self) -> None:
        self.calls = self.files = 0

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "c_call"):
            return
        name = argument.__name__ if event == "c_call" else ""
        to_file = name in _FILE
        if name != _HOOK and (to_file or frame.f_code.co_filename not in _PATHS):
            self.calls += 1
            self.files += to_file


def count_calls(call: Callable[[], Any], *, before: Callable[[], Any] | None = None) -> dict[str, int]:
    """Calls in one call, those in threads that it starts included, what Python processes that it starts import, and the peak.

    The peak (`tracemalloc`) is of what the call took. It sees each Python number, and so each conversion, whoever makes it;
    memory of Arrow and of other C++ code is not seen.
    """
    if before is not None:
        before()
    tally = _Tally()
    with quiet(), children.watched() as born:
        threading.setprofile(tally.profile)
        tracemalloc.start()
        sys.setprofile(tally.profile)
        try:
            call()
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            threading.setprofile(None)
    return {"calls": tally.calls, "file_calls": tally.files, **born, "peak_nbytes": peak}
