"""How the commands of the package end: one line on stderr and an exit status, never a traceback, for what a user did.

SIGTERM ends a command as Ctrl-C does, at any moment: while the libraries are imported (`begin`) and while it works. A standard
stream that cannot be written (its reader has gone, its disk is full, it was closed) stops nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from lora_perf.command.about import answer, is_script, needs_command
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.text import forgive, printable

USER_ERROR = 2
INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended
TERMINATED = 143  # and of one that SIGTERM ended
_PACKAGES = ("lora_perf", "benchmarks")
_ENDINGS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which whoever cleans up after Ctrl-C cleans up after."""


def begin() -> None:
    """Called before anything large is imported: a command of this package that is being started ends silently from now on,
    and at once where it was asked for no more than `about` knows.

    Nothing happens in another program that imports the package.
    """
    module = _started()
    if module.partition(".")[0] not in _PACKAGES:
        return
    with suppress(OSError):
        descriptor = os.open(os.devnull, os.O_RDWR)
        while descriptor <= 2:  # a file that got the number of a closed stream would get its text
            descriptor = os.open(os.devnull, os.O_RDWR)
        os.close(descriptor)
    try:
        os.getcwd()
    except OSError:  # libraries that PyTorch loads do not say what they miss
        error = LoraPerfError(expected="a working folder", found="one that was removed", fix="change to another folder")
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    for number in _ENDINGS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)
    words = sys.argv[1:]
    if not needs_command(words) and (module == "lora_perf" or (module.startswith("lora_perf.") and words == ["--version"])):
        sys.exit(exit_status(lambda: answer(words)))


def exit_status(work: Callable[[], int], interrupted: Callable[[], str] = lambda: "nothing was written") -> int:
    """Runs a command; returns its exit status.

    Args:
        work: the command, its parsing included; returns the status where nothing stops it.
        interrupted: says, after Ctrl-C or SIGTERM, what is left behind.
    """
    with _patient_streams():
        try:
            with _signals_raise(interrupted):
                return work()
        except LoraPerfError as error:
            print(f"error: {error}", file=sys.stderr)
            return USER_ERROR
        except KeyboardInterrupt as error:
            return _told(error, interrupted)
        except OSError as error:
            if error.errno is None:
                raise
            where = f": {error.filename}" if error.filename is not None else ""
            print(printable(f"error: {os.strerror(error.errno)}{where}"), file=sys.stderr)
            return USER_ERROR


def is_own_process() -> bool:
    """Whether this process was started for a command of the package, and ends with it."""
    return _started().partition(".")[0] in _PACKAGES


def give_back(numbers: Sequence[int] = _ENDINGS) -> None:
    """Streams, and these signals, are as Python starts a program with: what runs from here to the end is somebody's own."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, PatientStream) and stream.lost is None:
            setattr(sys, name, stream.stream)
    _reset_signals(numbers)


def _reset_signals(numbers: Sequence[int] = _ENDINGS) -> None:
    with suppress(ValueError):  # only the main thread may
        for number in numbers:
            if signal.getsignal(number) in (_raise, _leave):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# A process that is forked off, by a pool or a program that is watched, is no command: it cleans up nothing and says nothing.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_signals)


def refuse_lost_output() -> None:
    """For a command whose only product is what it shows.

    Raises:
        LoraPerfError: the standard output could not be written, for another reason than that its reader has gone.
    """
    lost = sys.stdout.lost if isinstance(sys.stdout, PatientStream) else None
    if lost is not None and getattr(lost, "errno", None) != errno.EPIPE:
        raise LoraPerfError(
            expected="a standard output that can be written",
            found=getattr(lost, "strerror", None) or str(lost),
            fix="send it elsewhere",
        )


class PatientStream:
    """A standard stream that swallows what it cannot write, so that nothing stops for it.

    Attributes:
        stream: that it stands for.
        lost: why it could not be written, or None.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lost: Exception | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda: self.stream.flush())

    def isatty(self) -> bool:
        return self.stream is not None and self.lost is None and bool(self.stream.isatty())

    @property
    def encoding(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        if self.stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return int(self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, call: Callable[[], object]) -> None:
        if self.stream is None or self.lost is not None:
            return
        try:
            call()
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.lost = error
            with suppress(OSError, ValueError):  # what it still holds must not fail again when Python ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)


@contextmanager
def _patient_streams() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    for stream in before:
        forgive(stream)
    streams = [stream if isinstance(stream, PatientStream) else PatientStream(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        if sys.stdout is streams[0]:  # and no stream of a program that the command ran
            sys.stdout = before[0]
        if sys.stderr is streams[1]:
            sys.stderr = before[1]


@contextmanager
def _signals_raise(interrupted: Callable[[], str]) -> Iterator[None]:
    """Makes SIGINT and SIGTERM exceptions, each once: a second one ends the process at once, whatever is still cleaned up."""
    handlers, hook = {}, sys.unraisablehook

    def lost(args: Any) -> None:
        """An exception in a finaliser goes no further: the work would go on as if nobody had asked it to end."""
        if isinstance(args.exc_value, KeyboardInterrupt):
            status = _told(args.exc_value, interrupted)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
        hook(args)

    with suppress(ValueError):  # only the main thread may, and only it gets signals
        for number in _ENDINGS:
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler, _leave):
                signal.signal(number, _raise)
                handlers[number] = handler
    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            if signal.getsignal(number) not in (_raise, _leave):  # it is of a program that the command ran
                continue
            # When its work is done a command ends with its status, though Python takes a while to end.
            signal.signal(number, signal.SIG_IGN if handler is _leave else handler)


def _raise(number: int, _: FrameType | None) -> None:
    for other in _ENDINGS:
        if signal.getsignal(other) is _raise:
            signal.signal(other, _leave)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _told(error: KeyboardInterrupt, interrupted: Callable[[], str]) -> int:
    terminated = isinstance(error, Terminated)
    print(printable(f"{'terminated' if terminated else 'interrupted'}; {interrupted()}"), file=sys.stderr)
    return TERMINATED if terminated else INTERRUPTED


def _started() -> str:
    """The module that this process was started with; the console script stands for its module."""
    words = iter(sys.orig_argv[1:])
    for option in words:
        if not option.startswith("-"):
            return "lora_perf" if is_script(option) else ""
        head, found, rest = option.partition("m")
        if not option.startswith("--") and found and not set("XWc") & set(head):  # these take the rest for themselves
            return rest or next(words, "")
        if option[-1] in "XW" or option == "--check-hash-based-pycs":  # and what follows
            next(words, "")
    return ""
