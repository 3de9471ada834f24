"""Processes of a trial: forked from one that has imported everything, or started anew; captured, limited and ended."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_perf.command import status as command
from tests.campaign.moments import Moment
from tests.campaign.outcomes import Ended

NOBODY = 65534
ROOT = Path(__file__).parents[2]
_POLL = 0.002


@dataclass(frozen=True)
class Kill:
    """A signal, some seconds after the start or at a file event."""

    signal: signal.Signals
    seconds: float | None = None
    event: int = 0
    after: bool = False
    twice: bool = False

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.signal.name} after {self.seconds:.3f} s"
        return f"{self.signal.name} {'twice ' * self.twice}{'after' if self.after else 'before'} event {self.event}"


@dataclass(frozen=True)
class Running:
    """A process that was started, and where its output goes."""

    pid: int
    logs: Path

    def wait(self, limit: float, kill: Kill | None = None) -> Ended:
        """How it ends; it is stopped at the limit."""
        begin = time.monotonic()
        ready = sent = False
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if not ready and _text(self.logs / "ready"):
                ready, begin = True, time.monotonic()
            passed = time.monotonic() - begin
            if ready and not sent and kill is not None and kill.seconds is not None and passed >= kill.seconds:
                os.kill(self.pid, kill.signal)
                sent = True
            if passed > limit:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return self._ended(None)
            time.sleep(_POLL)
        return self._ended(os.waitstatus_to_exitcode(status))

    def _ended(self, status: int | None) -> Ended:
        out, err, events = (_text(self.logs / name) for name in ("out", "err", "events"))
        return Ended(status, out, err, int(events or 0))


def _text(path: Path) -> str:
    return path.read_text(errors="backslashreplace") if path.exists() else ""


def fork(
    work: Callable[[], int],
    folder: Path,
    logs: Path,
    *,
    kill: Kill | None = None,
    count: bool = False,
    user: int | None = None,
    prepare: Callable[[], object] | None = None,
) -> Running:
    """A fork of this process that does `work` in a folder, whose return is its exit status.

    Args:
        folder: its working folder.
        logs: where its output is kept.
        kill: of which a file event is heeded here, seconds by `Running.wait`.
        count: count file events below the folder.
        user: who it becomes, where this process is root.
        prepare: called in the fork before the work, once its output is redirected.
    """
    logs.mkdir(parents=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Running(pid, logs)
    status = 1
    try:
        _redirect(logs)
        events, ready = (os.open(logs / name, os.O_WRONLY | os.O_CREAT) for name in ("events", "ready"))
        os.chdir(folder)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        if prepare is not None:
            prepare()
        at_event = kill is not None and kill.seconds is None
        moment = None
        if kill is not None and at_event:
            moment = Moment(str(folder), kill.signal, kill.event, after=kill.after, twice=kill.twice)
        elif count:
            moment = Moment(str(folder))
        os.write(ready, b"ready")
        status = _outcome(work)
        if moment is not None:
            os.write(events, str(moment.count).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _redirect(logs: Path) -> None:
    """Standard streams as a program has them that was started with its output in files."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, command._leave)  # as `python -m` has it once the package is imported
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    out, err = (io.FileIO(number, "w", closefd=False) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(out, "utf-8")
    sys.stderr = io.TextIOWrapper(err, "utf-8", "backslashreplace", write_through=True)


def _outcome(work: Callable[[], int]) -> int:
    """What the interpreter makes of the end of a program."""
    try:
        status = work()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        print(f"Exception ignored in: stdout: {error!r}", file=sys.stderr)
        return 120
    return status


def start(arguments: list[str], folder: Path, logs: Path, *, kill: Kill | None = None) -> Running:
    """A Python of its own that runs a module with arguments, as `python -m` does; events count its imports too."""
    logs.mkdir(parents=True)
    moment = f"0 0 {logs / 'events'}"
    if kill is not None:
        moment = f"{int(kill.signal)} {kill.event} {'after' if kill.after else 'before'}"
    path = os.pathsep.join([str(Path(__file__).with_name("cold")), str(ROOT)])
    program = [sys.executable, "-m", *arguments]
    with open(logs / "out", "wb") as out, open(logs / "err", "wb") as err:
        process = subprocess.Popen(
            program,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "CAMPAIGN_MOMENT": moment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    (logs / "ready").write_text("ready")
    process.returncode = 0  # waited for by its number, as the forks are
    return Running(process.pid, logs)
