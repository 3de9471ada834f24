"""Two pytest sessions as a pair: how the worker of each side is started, and what it says of a test."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.pairs import worker
from lora_perf.pairs.packages import Packages, places
from lora_perf.pairs.worker import SLOW_SECONDS
from lora_perf.pairs.workers import BaseError, Sample, Side, Times, Worker, WorkerError

SAMPLE_SECONDS = 0.005  # a sample of shorter calls repeats them: clocks and pipes cost some microseconds

# A pair shares a core for each of its threads while it is timed, since only one of its workers works then: the cores of a
# shared machine differ by some per cent, steadily, by what their neighbours do. Fresh pairs begin with the next core. Where
# the system keeps no process on a core, there are none.
_ALL_CORES: frozenset[int] = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())
_FIRST: Iterator[int] = cycle(range(max(1, len(_ALL_CORES))))


def count_cores() -> int:
    """How many cores this process may use."""
    return len(_ALL_CORES) or os.cpu_count() or 1


def refuse_threads(threads: int) -> None:
    """Raises LoraPerfError where there is not a core for each thread."""
    if not 1 <= threads <= count_cores():
        raise LoraPerfError(
            expected=f"from 1 to {count_cores()} threads, a core each", found=str(threads), fix="choose another number of them"
        )


def _next_cores(threads: int) -> frozenset[int]:
    order, first = sorted(_ALL_CORES), next(_FIRST)
    return frozenset((order + order)[first : first + threads])


@dataclass(frozen=True)
class Trees:
    """Where both sides stand.

    Attributes:
        root: of the tree, the top folder of its repository.
        folder: where pytest was called, within it.
        base: the files of the base in a folder.
        arguments: those of pytest, without those of pairs.
        packages: those of both sides, where both run the tests of the tree; None where each runs its own.
        threads: of each process.
    """

    root: Path
    folder: Path
    base: Path
    arguments: tuple[str, ...]
    packages: Packages | None = None
    threads: int = 1

    def side(self, *, base: bool) -> Side:
        """How a worker is started: in the tree, or in the same place of the base, whose packages then come first."""
        if self.packages is None:
            return self.own(base=base)
        folder = self.packages.base if base else self.packages.change
        # Programs that tests start find the package there too: nothing puts the folder where they stand before it.
        return self._side(self.root, [folder], dict.fromkeys(self.packages.names, str(folder)), {"PYTHONSAFEPATH": "1"})

    def own(self, *, base: bool) -> Side:
        """The same with the tests of that side."""
        return self._side(self.base if base else self.root, [], {}, {})

    def _side(self, top: Path, first: list[Path], packages: dict[str, str], environment: dict[str, str]) -> Side:
        def moved(path: Path) -> Path:
            return top / path.relative_to(self.root)

        paths = [*first, *(moved(path) for path in places(self.root, sys.path) if moved(path).is_dir())]
        given = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([*map(str, paths), *([given] if given else [])])
        words = [self._word(word, moved) for word in self.arguments]
        script = str(Path(worker.__file__).resolve())
        settings = json.dumps({"root": str(top), "packages": packages})
        return Side(
            (sys.executable, "-P", script, "{requests}", "{answers}", settings, *words),
            moved(self.folder),
            {"PYTHONPATH": path, **environment},
            self.threads,
        )

    def _word(self, word: str, moved: Callable[[Path], Path]) -> str:
        """An argument of pytest: a path within the tree is that of the side."""
        place = word.partition("::")[0]
        if os.path.isabs(place) and Path(place).is_relative_to(self.root):
            return str(moved(Path(place))) + word[len(place) :]
        return word


def collected(side: Worker, name: str) -> list[str]:
    """The first answer of a worker: which benchmarks it collected.

    Raises:
        LoraPerfError: its tests cannot be imported.
    """
    fix = "correct it" if name == "change" else "choose another base"
    try:
        found = side.receive()
    except WorkerError as error:
        raise LoraPerfError(expected=f"a suite of the {name} that pytest can collect", found=str(error), fix=fix) from error
    tests: list[str] = found["tests"]
    if found["errors"] and not tests:
        said = listed(found["errors"], 2)
        raise LoraPerfError(expected=f"tests of the {name} that can be imported", found=said, fix=fix)
    return tests


class Sessions(AbstractContextManager["Sessions"]):
    """Two fresh sessions, one over the base and one over the change, that collected the same suite and hold one test at a time.

    Args:
        floor: whether the base stands on both sides.
        rehearsed: the tests that were run to their end before, and so are not run again before they are timed; filled.
            None where no test has to be: where they look at their results before they call the benchmark.

    Attributes:
        tests: the names of the benchmarks of each side.
    """

    def __init__(self, trees: Trees, *, floor: bool = False, rehearsed: set[str] | None = None) -> None:
        self._rehearsed = rehearsed
        self._held: list[Worker] = []
        self._repeats = 1
        self._turn = 0
        self._cores = _next_cores(trees.threads)
        with ExitStack() as stack:
            self.base = stack.enter_context(Worker(trees.side(base=True)))
            self.change = stack.enter_context(Worker(trees.side(base=floor)))
            self.tests = {"base": collected(self.base, "base"), "change": collected(self.change, "change")}
            self._stack = stack.pop_all()

    @property
    def broken(self) -> bool:
        return self.base.broken or self.change.broken

    def close(self) -> None:
        """Stops the workers."""
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self, name: str) -> None:
        """Makes a test ready on both sides at a time, and chooses how many calls a sample has; one that is held ends first.

        Raises:
            WorkerError: the change cannot do it, or its result is wrong.
            BaseError: the base cannot.
        """
        self.finish()
        sides = (self.change, self.base)
        rehearse = self._rehearsed is not None and name not in self._rehearsed
        for side in sides:
            side.keep_to(_ALL_CORES)
            side.send("prepare", name=name, rehearse=rehearse)
        change, base = [_answer(side) for side in sides]  # both are taken, so that none is left for the next request
        for side in sides:
            side.keep_to(self._cores)
        for side, found in zip(sides, (change, base), strict=True):
            if isinstance(found, dict) and found["state"] == "ready":
                self._held.append(side)
        _why_not(change, UnmeasuredError)
        seconds = float(_why_not(base, BaseError)["seconds"])
        self._repeats = max(1, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-6)))
        if seconds < SLOW_SECONDS:
            self.sample()  # warms up
        if self._rehearsed is not None:
            self._rehearsed.add(name)

    def sample(self) -> Sample:
        """Times one call, or some short ones, on each side, each time in the other order."""
        self._turn += 1
        sides = (self.base, self.change) if self._turn % 2 else (self.change, self.base)
        found = {side: Times(**side.ask("run", calls=self._repeats)) for side in sides}
        return Sample(found[self.base], found[self.change])

    def counts(self) -> dict[str, dict[str, int]]:
        """What one call takes beside time, of both sides; nothing where a call of one does not bear to be watched."""
        found = {"base": self.base.ask("count"), "change": self.change.ask("count")}
        return found if all(found.values()) else {}

    def finish(self) -> str:
        """Has the tests that are held end; what went wrong after the call in that of the change."""
        held, self._held = self._held, []
        for side in held:
            side.send("finish")
        told = {id(side): side.receive() for side in held}
        return str(told.get(id(self.change), {}).get("why", ""))


def _answer(worker: Worker) -> dict[str, Any] | WorkerError:
    try:
        return worker.receive()
    except WorkerError as error:
        return error


def _why_not(found: dict[str, Any] | WorkerError, kind: Callable[[str], Exception]) -> dict[str, Any]:
    """The answer of a side that is ready, or what it says that is not."""
    if isinstance(found, WorkerError):
        raise kind(str(found)) from found
    if found["state"] != "ready":
        raise kind("it is not there" if found["state"] == "absent" else found["why"])
    return found


class UnmeasuredError(WorkerError):
    """A test of the change that comes to no call: it is skipped, fails, or calls nothing."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "")
