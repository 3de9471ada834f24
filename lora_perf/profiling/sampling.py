"""A thread that looks, some hundred times a second, at what line each other thread is and how much memory is taken."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from types import CodeType, FrameType

import torch

from lora_perf.profiling.ranges import Clock, Path, Ranges

_OWN = str(FilePath(__file__).parent) + os.sep
_PACKAGE = str(FilePath(__file__).parents[1]) + os.sep
_TORCH = str(FilePath(torch.__file__).parent) + os.sep
_STAGES = str(FilePath(__file__).parents[1] / "core" / "profiling.py")
_LIBRARIES = tuple({path + os.sep for path in map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")) if path})
# A thread whose innermost line is in one of these waits for another one, or for a program.
_WAITING = (
    "threading.py",
    "queue.py",
    "selectors.py",
    "subprocess.py",
    "concurrent/futures/thread.py",
    "concurrent/futures/_base.py",
)
_SHORTEST, _LONGEST, _SHARE = 1_000_000, 20_000_000, 100  # nanoseconds between looks: a hundredth of the time gone by
_CALLS = 200_000  # some 40 MB of JSON
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of Python: its file, its number, and the function that it stands in."""

    file: str
    number: int
    function: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function of Python that was seen in a thread at every look from `begin` to `end`, in nanoseconds."""

    thread: int
    code: CodeType
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Held:
    """Memory at a moment, in bytes.

    Attributes:
        moment: nanoseconds of the trace's clock.
        resident: of the process in physical memory.
        mapped: of these, pages of files, which the system takes back when it needs them.
        device: what tensors take on the current GPU.
    """

    moment: int
    resident: int
    mapped: int
    device: int


class Sampler:
    """Looks until it is stopped.

    Attributes:
        lines: nanoseconds that threads spent in a line, by the stage that the traced thread was in. What a line of the
            caller or of this package calls in the standard library or in an installed one counts for that line.
        waited: nanoseconds that the traced thread waited for others, by its stage.
        held: memory over time.
        calls: the stacks of all threads; of a very long run those of its first part.
        threads: their names, by the numbers that Python has for them.
    """

    def __init__(self, ranges: Ranges, clock: Clock, tick: Callable[[Path, int, int], object]) -> None:
        self.lines: Counter[tuple[Path, Line]] = Counter()
        self.waited: Counter[Path] = Counter()
        self.held: list[Held] = []
        self.calls: list[Call] = []
        self.threads: dict[int, str] = {}
        self.looks = 0
        self._ranges = ranges
        self._clock = clock
        self._tick = tick
        self._traced = threading.get_ident()
        self._opened: dict[int, list[tuple[CodeType, int]]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lora_perf trace", daemon=True)

    def start(self) -> None:
        self.held.append(held(self._clock.now()))
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for thread in self._opened:
            self._stand(thread, [], self._clock.now())
        self.held.append(held(self._clock.now()))

    def quiet(self) -> bool:
        """Whether no thread of Python but the one that asks may be in an operator.

        The others wait, or are a library's own that listens to something, as notebooks have them.
        """
        asking = threading.get_ident(), self._thread.ident
        return not any(_at_work(frame) for thread, frame in sys._current_frames().items() if thread not in asking)

    def _work(self) -> None:
        begin = last = self._clock.now()
        own = threading.get_ident()
        while not self._stopping.wait(min(max((last - begin) // _SHARE, _SHORTEST), _LONGEST) / 1e9):
            now = self._clock.now()
            path, before, last = self._ranges.current, last, now
            self._look(path, now - before, now, own)
            self.held.append(held(now))
            self.looks += 1
            self._tick(path, before, now)

    def _look(self, path: Path, elapsed: int, now: int, own: int) -> None:
        frames = sys._current_frames()
        del frames[own]
        if frames.keys() - self.threads:
            self.threads |= {one.ident: one.name for one in threading.enumerate() if one.ident is not None}
        for thread in {*self._opened} - {*frames}:  # it has ended
            self._stand(thread, [], now)
        for thread, frame in frames.items():
            if len(self.calls) < _CALLS:
                self._stand(thread, _stack(frame), now)
            if _waits(frame.f_code.co_filename):
                self.waited[path] += elapsed * (thread == self._traced)
            elif line := line_of(frame):
                self.lines[path, line] += elapsed

    def _stand(self, thread: int, stack: list[CodeType], now: int) -> None:
        """A thread is seen in these functions, the outermost first; the others that it was in have ended."""
        opened = self._opened.setdefault(thread, [])
        same = 0
        while same < min(len(opened), len(stack)) and opened[same][0] is stack[same]:
            same += 1
        self.calls += [Call(thread, code, begin, now) for code, begin in opened[same:]]
        opened[same:] = [(code, now) for code in stack[same:]]


def _at_work(frame: FrameType) -> bool:
    if _waits(frame.f_code.co_filename):
        return False
    return any(_counts(code.co_filename) or code.co_filename.startswith(_TORCH) for code in _stack(frame))


def _stack(frame: FrameType | None) -> list[CodeType]:
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return codes[::-1]


def line_of(frame: FrameType) -> Line | None:
    """The line that a thread's time counts for; None where it is at work for the trace itself."""
    inner: FrameType | None = frame
    while inner is not None and not _counts(inner.f_code.co_filename):
        inner = inner.f_back
    found = inner or frame
    if found.f_code.co_filename.startswith(_OWN):
        return None
    return Line(found.f_code.co_filename, found.f_lineno or 0, found.f_code.co_qualname)


def held(moment: int) -> Held:
    """Memory now."""
    try:
        with open("/proc/self/statm") as file:
            _, resident, mapped, *_ = map(int, file.read().split())
    except OSError:
        resident = mapped = 0
    device = torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0
    return Held(moment, resident * _PAGE, mapped * _PAGE, device)


@cache
def _counts(file: str) -> bool:
    """Whether lines of a file stand for themselves: those of this package and of no library."""
    if file == _STAGES:
        return False
    return file.startswith(_PACKAGE) or not _in_library(file)


def _in_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<frozen")) or not {"site-packages", "dist-packages"}.isdisjoint(file.split(os.sep))


@cache
def _waits(file: str) -> bool:
    return file.endswith(_WAITING) and _in_library(file)
