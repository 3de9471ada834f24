"""How the commands of the package end: one line on stderr and an exit status, never a traceback, for what a user did."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lora_perf.errors import LoraPerfError
from lora_perf.text import forgive

USER_ERROR = 2
INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended


def exit_status(work: Callable[[], int], interrupted: Callable[[], str] = lambda: "nothing was written") -> int:
    """Runs a command; returns its exit status.

    Args:
        work: the command, its parsing included; returns the status where nothing stops it.
        interrupted: says, after Ctrl-C, what is left behind.
    """
    forgive(sys.stdout)
    forgive(sys.stderr)
    try:
        return work()
    except LoraPerfError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted()}", file=sys.stderr)
        return INTERRUPTED
