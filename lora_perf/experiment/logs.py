"""The log of a run, one line a record; it cannot stop the work."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lora_perf.core.text import OneLine

LOG = "experiment.log"
log = logging.getLogger("lora_perf.experiment")


class _LogFile(logging.StreamHandler[TextIO]):
    """Writes to a log until that fails, which is told once."""

    def __init__(self, path: Path) -> None:
        super().__init__(_open(path))
        self._path = path
        self._failed = False
        self.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._failed:
            super().emit(record)

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - the name of logging
        self._failed = True
        log.warning("%s cannot be written any further; the work goes on without it", self._path)

    def close(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.close()
        super().close()


@contextmanager
def log_file(folder: Path) -> Iterator[bool]:
    """Appends the package's log records to `experiment.log` in a folder; whether that can be written.

    What stands in its place is left alone, and the work goes on without a log.
    """
    package = logging.getLogger("lora_perf")
    handler: _LogFile | None = None
    try:
        handler = _LogFile(folder / LOG)
        package.addHandler(handler)
    except OSError as error:
        log.warning("no log: %s cannot be written (%s); the work goes on without it", folder / LOG, error.strerror or error)
    before = package.level
    package.setLevel(logging.INFO)
    try:
        yield handler is not None
    except BaseException as error:
        package.error("stopped: %s", str(error) or type(error).__name__)
        raise
    finally:
        package.setLevel(before)
        if handler is not None:
            package.removeHandler(handler)
            handler.close()


def _open(path: Path) -> TextIO:
    """A log to append to; a pipe makes nobody wait."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file")
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")
