"""PyTorch's own profiler, switched on for the first part of each stage, so that a trace of any run stays small."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
_EVENTS = 250_000  # operators of a trace: some 100 MB of JSON, which the viewers still open
_ALL = [ProfilerActivity.CPU, ProfilerActivity.CUDA, ProfilerActivity.XPU]  # fewer are told of on stderr when they pause
_PATIENCE = 1.0  # seconds that the end of a trace waits for threads that are still at work
_LOG = "KINETO_LOG_LEVEL"  # of the profiler's library, which tells stderr of each start and stop
_SILENT = "6"


class Operators:
    """The windows in which operators are recorded, each of them a file.

    A window opens in the traced thread, where a stage begins. When its time is over no more operators are recorded, which any
    thread may see to at any time. What it holds is taken where the next stage begins, if no other thread is at work then:
    PyTorch crashes where an operator that began in one window ends in another.

    Args:
        seconds: of each stage; of what is in no stage too.
        memory: "process": operators of all threads, and none of their allocations, which PyTorch 2.13 leaves out then;
            "operators": operators and allocations of this thread, from begin to end.
        python: "calls": each call of a Python function too, and the stack of each operator.
        folder: where the files go.
        quiet: whether no other thread is at work.

    Attributes:
        windows: from when to when, in nanoseconds.
        full: whether there were so many operators that no more windows open.
        missed: how often none opened because other threads were at work.
        gave_way: whether another profiler was started meanwhile, after which none opens either.
    """

    def __init__(
        self, seconds: float, memory: Memory, python: Python, folder: FilePath, clock: Clock, quiet: Callable[[], bool]
    ) -> None:
        self.windows: list[tuple[int, int]] = []
        self.files: list[FilePath] = []
        self.full = False
        self.gave_way = False
        self.missed = 0
        self._limit = seconds * 1e9
        self._stacks = python == "calls"
        self._whole = memory == "operators"
        self._folder = folder
        self._clock = clock
        self._quiet = quiet
        self._used: Counter[Path] = Counter()
        self._events = 0
        self._lock = threading.RLock()
        self._closed = False
        self._profile: Any = None  # while a window is open, and until what it holds is taken
        self._recording = self._opening = False
        self._since = 0

    @property
    def recording(self) -> bool:
        """Whether a window is open."""
        return self._recording

    def begin(self) -> None:
        """Opens the first window, in the thread whose work is traced."""
        before = os.environ.get(_LOG)
        os.environ.setdefault(_LOG, _SILENT)
        try:
            with self._lock:
                self._open()
        finally:
            if before is None:
                del os.environ[_LOG]

    def enter(self, path: Path) -> None:
        """A stage begins, in the same thread."""
        with self._lock:
            if self._whole or self._recording or self._closed or self.full or self._used[path] >= self._limit:
                return
            if not self._quiet():
                self.missed += 1
                return
            if self._profile is not None:
                self._take()
            if not self.full:
                self._open()

    def tick(self, path: Path, begin: int, end: int) -> None:
        """Time went by in a stage, from one moment to another."""
        if self._whole:
            return
        with self._lock:
            if self._recording:
                self._used[path] += max(0, end - max(begin, self._since))
                if self._used[path] >= self._limit:
                    self._pause()

    def end(self) -> None:
        """Ends the window that is open, for good."""
        with self._lock:
            self._closed = True
            if self._recording:
                self._pause()
            if self._profile is not None:
                patience = time.monotonic() + _PATIENCE
                while not self._quiet() and time.monotonic() < patience:
                    time.sleep(0.001)
                self._take()

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """A profiler that the traced code starts within the block ends the windows: PyTorch crashes where two are at work."""
        prepare = _torch._prepare_profiler

        def prepared(*told: Any, **others: Any) -> Any:
            if not self._opening:
                self.gave_way = True
                self.end()
            return prepare(*told, **others)

        _torch._prepare_profiler = prepared
        try:
            yield
        finally:
            _torch._prepare_profiler = prepare

    def _open(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(
            activities=activities,
            record_shapes=True,
            profile_memory=self._whole,
            with_stack=self._stacks,
            experimental_config=_config(all_threads=not self._whole, stacks=self._stacks),
        )
        self._opening = True
        self._profile.start()
        self._opening = False
        self._recording, self._since = True, self._clock.now()

    def _pause(self) -> None:
        """No more operators are recorded."""
        self._recording = False
        self.windows.append((self._since, self._clock.now()))
        self._profile.toggle_collection_dynamic(False, _ALL)

    def _take(self) -> None:
        """Writes what a window holds."""
        record, self._profile = self._profile, None
        record.stop()
        file = self._folder / f"{len(self.files)}.json"
        record.export_chrome_trace(str(file))
        self.files.append(file)
        self._events += len(record.profiler.kineto_results.events())
        self.full = self._events >= _EVENTS


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
