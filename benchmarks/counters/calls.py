"""Calls and executed lines, by the hooks that Python has for profilers and debuggers."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import posixpath
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.counters import children
from benchmarks.counters.quiet import quiet

_FILE = ("open", "read", "readinto", "readall", "readline", "preadv", "pread", "write", "pwrite", "pwritev", "sendfile")
_LIST = ("tolist", "item")
_TENSOR = ("tensor", "as_tensor", "new_tensor")
# What these do depends on how deep the folder is in which the data happen to stand; files that they open count.
_PATHS = frozenset(str(module.__file__) for module in (pathlib, posixpath))
# Called to set the hooks, in each thread that starts and at the end.
_HOOKS = ("setprofile", "settrace")


def _folder(package: str) -> str:
    """Where the files of a package stand, found without importing it."""
    found = importlib.util.find_spec(package)
    assert found is not None, f"{package} is not installed"
    return str(Path(str(found.origin)).parent) + os.sep


class _Tally:
    """Calls by file and by name, and lines of one package.

    Methods of compiled classes (pyarrow's) and of operators (`a[i] = b`) raise no event: what they take is seen as memory,
    and a loop around them as lines.
    """

    def __init__(self) -> None:
        self.files: defaultdict[str, int] = defaultdict(int)
        self.names: defaultdict[str, int] = defaultdict(int)
        self.lines = 0
        self._package = _folder("lora_perf")

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if file in _PATHS and not (event == "c_call" and argument.__name__ in _FILE):
            return
        if event == "call":
            self.files[file] += 1
        elif event == "c_call":
            self.names[argument.__name__] += 1

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self._package) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.lines += 1
        return self._line

    def of(self, names: Iterable[str]) -> int:
        return sum(self.names[name] for name in names)

    def inside(self, folder: str) -> int:
        return sum(count for file, count in self.files.items() if file.startswith(folder))


def count_calls(call: Callable[[], Any], *, before: Callable[[], Any] | None = None) -> dict[str, int]:
    """Calls in one call, those in threads that it starts included, and what Python processes that it starts import."""
    if before is not None:
        before()
    tally = _Tally()
    with quiet(), children.watched(_folder("lora_perf")) as born:
        threading.settrace(tally.trace)
        threading.setprofile(tally.profile)
        sys.settrace(tally.trace)
        sys.setprofile(tally.profile)
        try:
            call()
        finally:
            sys.setprofile(None)
            sys.settrace(None)
            threading.setprofile(None)
            threading.settrace(None)
    return {
        "python_calls": sum(tally.files.values()),
        "c_calls": sum(tally.names.values()) - tally.of(_HOOKS),
        "lines": tally.lines,
        "datasets_calls": tally.inside(_folder("datasets")),
        "file_calls": tally.of(_FILE),
        "list_calls": tally.of(_LIST),
        "tensor_calls": tally.of(_TENSOR),
        **born,
    }
