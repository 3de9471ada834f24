"""The two processes of a comparison, and the word that goes between them and this one."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from lora_perf.pairs.worker import SLOW_SECONDS

SAMPLE_SECONDS = 0.005  # a sample of shorter calls repeats them: clocks and pipes cost some microseconds
_PATIENCE_SECONDS = 300.0  # for one answer: the slowest takes seconds, so a silent worker hangs
_STOP_SECONDS = 5.0
_MESSAGE_LINES = 3

# One thread for each process: two of them share the cores, and threads that wait for each other tell of the neighbours.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


# A pair shares a core while it is timed, since only one of its workers works then: the cores of a shared machine differ by
# some per cent, steadily, by what their neighbours do. Fresh pairs take the next core. Where the system keeps no process on
# a core, there are none.
_ALL_CORES: frozenset[int] = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())
_CORES: Iterator[frozenset[int]] = cycle([frozenset({core}) for core in sorted(_ALL_CORES)] or [_ALL_CORES])


class WorkerError(Exception):
    """What went wrong in a worker: the class of the exception there, or that it ended or hung, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {message}" if message else kind)


class BaseError(Exception):
    """The base cannot do a workload, so there is nothing to compare with."""


@dataclass(frozen=True)
class Times:
    """Seconds of the calls of one sample; `worker.Clock` says what each is."""

    wall: float
    own: float
    cpu: float


@dataclass(frozen=True)
class Sample:
    """A pair of times that were taken one after the other."""

    base: Times
    change: Times

    @property
    def ratio(self) -> float:
        """Change over base, of the time that a busy neighbour does not lengthen."""
        return self.change.own / self.base.own


@dataclass(frozen=True)
class Side:
    """How a worker of one side is started.

    Attributes:
        command: the program; "{requests}" and "{answers}" in it become the numbers of its pipes.
        folder: where it runs.
        environment: what it sees beside the variables of this process.
    """

    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]


class Worker(AbstractContextManager["Worker"]):
    """A process that answers requests, one a line of JSON; it is stopped when its block is left.

    Attributes:
        broken: whether it ended or did not answer, so that nothing more can be asked of it.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.broken = False
        self._words = b""
        # What workloads write goes with the worker, also where it is killed.
        self._scratch = tempfile.TemporaryDirectory(prefix="lora_perf-worker-", ignore_cleanup_errors=True)
        # A file and not a pipe: nobody has to read it while the worker writes.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker is
        theirs, requests = os.pipe()
        self._answers, ours = os.pipe()
        self._requests = os.fdopen(requests, "wb", buffering=0)
        words = {"requests": theirs, "answers": ours}
        self._process = subprocess.Popen(
            [word.format(**words) if word in ("{requests}", "{answers}") else word for word in side.command],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            env={**os.environ, **_ENVIRONMENT, **side.environment, "TMPDIR": self._scratch.name},
            cwd=side.folder,
            pass_fds=(theirs, ours),
            start_new_session=True,  # Ctrl-C goes to the coordinator alone, which then stops its workers
        )
        os.close(theirs)
        os.close(ours)

    def send(self, do: str, **arguments: Any) -> None:
        """Asks for something; `receive` waits for the answer."""
        with suppress(BrokenPipeError):  # `receive` says why
            self._requests.write(json.dumps({"do": do, **arguments}).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest request.

        Raises:
            WorkerError: the request failed there, or the worker ended or does not answer.
        """
        found: dict[str, Any] = json.loads(self._line())
        if "error" in found:
            raise WorkerError(found["error"], found["message"].strip())
        return found

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request, when it is there."""
        self.send(do, **arguments)
        return self.receive()

    @property
    def pid(self) -> int:
        return self._process.pid

    def keep_to(self, cores: frozenset[int]) -> None:
        """Keeps the process on some cores; on any, where none is named."""
        if cores:
            with suppress(ProcessLookupError):  # `receive` says why
                os.sched_setaffinity(self._process.pid, cores)

    def _line(self) -> bytes:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while b"\n" not in self._words:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            words = os.read(self._answers, 1 << 16) if ready else b""
            if not words:
                self.broken = True
                if not ready:
                    raise WorkerError("no answer", f"waited for {_PATIENCE_SECONDS:g} seconds")
                raise WorkerError(f"the process ended with status {self._process.wait()}", self._last_words())
            self._words += words
        line, _, self._words = self._words.partition(b"\n")
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-_MESSAGE_LINES:])

    def __exit__(self, *_: object) -> None:
        """Stops the process and those that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._requests.close()
        os.close(self._answers)
        self._errors.close()
        self._scratch.cleanup()


class Pair(AbstractContextManager["Pair"]):
    """Two fresh workers, one over the base and one over the change, that hold one benchmark at a time.

    Args:
        base, change: how their workers are started.
        meet: called with each worker and the name of its side once both run; it takes their first answers.
    """

    def __init__(self, base: Side, change: Side, meet: Callable[[Worker, str], object] = lambda *_: None) -> None:
        self._repeats = 1
        self._turn = 0
        self._core = next(_CORES)
        with ExitStack() as stack:
            self.base = stack.enter_context(Worker(base))
            self.change = stack.enter_context(Worker(change))
            meet(self.base, "base")
            meet(self.change, "change")
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
        """Makes a benchmark ready on both sides at a time, and chooses how many calls a sample has.

        Raises:
            WorkerError: the change cannot do it, or its result is wrong.
            BaseError: the base cannot.
        """
        sides = (self.change, self.base)
        for side in sides:
            side.keep_to(_ALL_CORES)
            self.ask_to_prepare(side, name)
        change, base = [_answer(side) for side in sides]  # both are taken, so that none is left for the next request
        for side in sides:
            side.keep_to(self._core)
        seconds = self.prepared(base, change)
        self._repeats = max(1, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-6)))
        if seconds < SLOW_SECONDS:
            self.sample()  # warms up

    def ask_to_prepare(self, side: Worker, name: str) -> None:
        """Sends the request to make a benchmark ready."""
        side.send("prepare", name=name)

    def prepared(self, base: dict[str, Any] | WorkerError, change: dict[str, Any] | WorkerError) -> float:
        """The seconds of a call, of the answers of both sides.

        Raises:
            WorkerError, BaseError: one of them cannot be timed.
        """
        if isinstance(change, WorkerError):
            raise change
        if isinstance(base, WorkerError):
            raise BaseError(str(base)) from base
        return float(base["seconds"])

    def sample(self) -> Sample:
        """Times one call, or some short ones, on each side, each time in the other order."""
        self._turn += 1
        sides = (self.base, self.change) if self._turn % 2 else (self.change, self.base)
        found = {side: Times(**side.ask("run", calls=self._repeats)) for side in sides}
        return Sample(found[self.base], found[self.change])


def _answer(worker: Worker) -> dict[str, Any] | WorkerError:
    try:
        return worker.receive()
    except WorkerError as error:
        return error
