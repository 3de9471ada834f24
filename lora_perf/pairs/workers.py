"""The two processes of a comparison, and the word that goes between them and this one."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 300.0  # for one answer: the slowest takes seconds, so a silent worker hangs
_STOP_SECONDS = 5.0
_MESSAGE_LINES = 3

_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
        threads: that its libraries take. One, unless threads are what is measured: such as wait for each other tell of the
            neighbours too.
    """

    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    threads: int = 1


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
            env={
                **os.environ,
                **_ENVIRONMENT,
                **dict.fromkeys(_THREADS, str(side.threads)),
                **side.environment,
                "TMPDIR": self._scratch.name,
            },
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
            self.broken |= found.get("ended", False)
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
