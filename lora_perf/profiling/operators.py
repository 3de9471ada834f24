"""PyTorch's own profiler, switched on for the first part of each stage, so that a trace of any run stays small."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any, Literal

import torch
import torch.autograd.profiler
from torch.profiler import ProfilerActivity, profile

from lora_perf.profiling.ranges import Clock, Path

Memory = Literal["process", "operators"]
Python = Literal["sampled", "calls"]
_torch: Any = torch.autograd.profiler  # parts of it that have no public name
_STARTS = 3  # windows in one stage: each costs milliseconds to open and its events' own time to close
_EVENTS = 250_000  # operators of a trace: some 100 MB of JSON, which the viewers still open
_LOG = "KINETO_LOG_LEVEL"  # of the profiler's library, which tells stderr of each start and stop
_SILENT = "6"


class Operators:
    """The windows in which operators are recorded, each of them a file.

    Args:
        seconds: of each stage; of what is in no stage too.
        memory: "process": operators of all threads, and none of their allocations, which PyTorch 2.13 leaves out then;
            "operators": operators and allocations of this thread, from begin to end.
        python: "calls": each call of a Python function too, and the stack of each operator.
        folder: where the files go.

    Attributes:
        windows: from when to when, in nanoseconds.
        own: from when to when the profiler itself was at work.
        full: whether there were so many operators that no more windows open.
        gave_way: whether another profiler was started meanwhile, after which none opens either.
    """

    def __init__(self, seconds: float, memory: Memory, python: Python, folder: FilePath, clock: Clock) -> None:
        self.windows: list[tuple[int, int]] = []
        self.own: list[tuple[int, int]] = []
        self.files: list[FilePath] = []
        self.full = False
        self._limit = seconds * 1e9
        self._stacks = python == "calls"
        self._whole = memory == "operators"
        self._folder = folder
        self._clock = clock
        self._profile: Any = None
        self._since = 0
        self._used: Counter[Path] = Counter()
        self._starts: Counter[Path] = Counter()
        self._events = 0
        self._lock = threading.RLock()
        self._closed = False
        self._starting = False
        self.gave_way = False

    def enter(self, path: Path) -> None:
        """A stage begins: its first window opens with it."""
        if self._whole:
            return
        with self._lock:
            if self._profile is None and self._may_start(path):
                self._start(path)

    def tick(self, path: Path, elapsed: int) -> None:
        """So many nanoseconds went by in a stage: its window may close, and that of another may open."""
        if self._whole:
            return
        with self._lock:
            if self._profile is not None:
                self._used[path] += elapsed
                if self._used[path] >= self._limit:
                    self._stop()
            elif self._may_start(path):
                self._start(path)

    def begin(self) -> None:
        """Opens the first window, in the thread whose work is traced."""
        before = os.environ.get(_LOG)
        os.environ.setdefault(_LOG, _SILENT)
        try:
            with self._lock:
                self._start(())
        finally:
            if before is None:
                del os.environ[_LOG]

    def end(self) -> None:
        """Closes what is open, for good."""
        with self._lock:
            self._closed = True
            if self._profile is not None:
                self._stop()

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """A profiler that the traced code starts within the block ends the windows: PyTorch crashes where two are at work."""
        prepare = _torch._prepare_profiler

        def prepared(*told: Any, **others: Any) -> Any:
            if not self._starting:
                self.gave_way = True
                self.end()
            return prepare(*told, **others)

        _torch._prepare_profiler = prepared
        try:
            yield
        finally:
            _torch._prepare_profiler = prepare

    def _may_start(self, path: Path) -> bool:
        open_ = not self._closed and not self.full
        return open_ and self._used[path] < self._limit and self._starts[path] < _STARTS

    def _start(self, path: Path) -> None:
        begin = self._clock.now()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(
            activities=activities,
            record_shapes=True,
            profile_memory=self._whole,
            with_stack=self._stacks,
            experimental_config=_config(all_threads=not self._whole, stacks=self._stacks),
        )
        self._starting = True
        self._profile.start()
        self._starting = False
        self._starts[path] += 1
        self._since = self._clock.now()
        self.own.append((begin, self._since))

    def _stop(self) -> None:
        begin = self._clock.now()
        record, self._profile = self._profile, None
        record.stop()
        file = self._folder / f"{len(self.files)}.json"
        record.export_chrome_trace(str(file))
        self.files.append(file)
        self.windows.append((self._since, begin))
        self._events += len(record.profiler.kineto_results.events())
        self.full = self._events >= _EVENTS
        self.own.append((begin, self._clock.now()))


def busy() -> bool:
    """Whether a profiler of PyTorch is at work already."""
    return bool(_torch._is_profiler_enabled or torch._C._autograd._profiler_enabled())


def _config(*, all_threads: bool, stacks: bool) -> Any:
    """What the profiler's public arguments do not say; versions of PyTorch that know no threads record this one."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        return _ExperimentalConfig(verbose=stacks, profile_all_threads=all_threads)
    except TypeError:
        return _ExperimentalConfig(verbose=stacks)
