"""Moments at which a process is ended: at one of its file events or imports, so that the same moment comes again.

The standard library alone: this runs before the program imports anything.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any

_FILE_EVENTS = frozenset(
    ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "os.utime")
)
_BETWEEN = 0.03  # seconds between two signals
_LOCK_EVENTS = frozenset(("fcntl.flock", "fcntl.lockf"))


class Moment:
    """Counts the events of a process that touch a folder, and sends it a signal at one of them.

    Args:
        folder: where events count.
        signal_number: what is sent; 0 counts only.
        event: before which of the events, counted from 1.
        after: right after that event instead.
        imports: count imports too, from the first one inside the package on.
        twice: send it again a little later, as people press Ctrl-C.
    """

    def __init__(
        self,
        folder: str,
        signal_number: int = 0,
        event: int = 0,
        *,
        after: bool = False,
        imports: bool = False,
        twice: bool = False,
    ) -> None:
        self.count = 0
        self._folder, self.signal, self._event = folder, signal_number, event
        self._after, self._imports, self._inside, self._twice = after, imports, False, twice
        self._process = os.getpid()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":
            # The import of the package itself comes before its first line, which is where it can begin to take care.
            counts = self._imports and self._inside
            self._inside = self._inside or str(arguments[0]) == "lora_perf"
        elif event in _FILE_EVENTS:
            counts = self._is_below(arguments[0])
        else:
            counts = event in _LOCK_EVENTS
        if not counts or os.getpid() != self._process:
            return
        self.count += 1
        if self.signal and self.count == self._event:
            if self._after:
                sys.setprofile(self._send)
            else:
                self._send()

    def _send(self, *_: object) -> None:
        sys.setprofile(None)
        if self._twice:
            timer = threading.Timer(_BETWEEN, os.kill, (self._process, self.signal))
            timer.daemon = True
            timer.start()
        os.kill(self._process, self.signal)

    def _is_below(self, path: Any) -> bool:
        try:
            path = os.fsdecode(path)
        except TypeError:  # a descriptor
            return False
        return bool(os.path.abspath(path).startswith(self._folder))


def begin() -> None:
    """Watches this process, as the environment says: `SIGNAL EVENT AFTER`, or `0 0 COUNTS` to count into a file."""
    number, event, word = os.environ.pop("CAMPAIGN_MOMENT").split(" ", 2)
    moment = Moment(os.getcwd(), int(number), int(event), after=word == "after", imports=True)

    def tell() -> None:
        with open(word, "w") as file:
            file.write(str(moment.count))

    if not moment.signal:
        atexit.register(tell)
