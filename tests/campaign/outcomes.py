"""How a trial may end, and what is read from the end of a process."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
_TRACES = ("Traceback (most recent call last)", "Exception ignored in", "Fatal Python error", "Exception in thread")


class Outcome(StrEnum):
    """What a trial showed; the wanted ones first, then those of which there shall be none."""

    SAME = "same numbers"
    RECOMPUTED = "recomputed"
    REFUSED = "one line, status 2"
    PROBLEM = "problem of inspect"
    RESUMED = "went on after the signal"
    OVER = "over before the signal"
    SKIPPED = "skipped"
    TRACEBACK = "TRACEBACK"
    HANG = "HANG"
    CRASH = "CRASH"
    DIFFERENT = "SILENT DIFFERENCE"
    LEFT = "FILES LEFT"
    LINES = "NOT ONE LINE"
    STATUS = "WRONG STATUS"
    STUCK = "NEXT RUN FAILED"
    BROKEN = "CAMPAIGN BROKEN"

    @property
    def is_fault(self) -> bool:
        return self.value.isupper()


class Fault(Exception):  # noqa: N818 - a finding, not an error of the campaign
    """A trial showed what shall not be."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(outcome, detail)
        self.outcome, self.detail = outcome, detail


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status, or minus the number of the signal that ended it; None where it had to be stopped.
        out, err: what it wrote to stdout and stderr.
        events: file events that were counted in it, where that was asked for.
    """

    status: int | None
    out: str
    err: str
    events: int = 0

    @property
    def lines(self) -> list[str]:
        """The lines on stderr that are no warnings."""
        return [line for line in self.err.splitlines() if line.strip() and not line.startswith("WARNING: ")]

    def check(self, *allowed: int, what: str = "the run", importing: bool = False) -> int:
        """The exit status, which is one of `allowed`: 2 and those of signals come with one line.

        Args:
            importing: the process may not have come to its work yet, and ends by a signal without a word then.

        Raises:
            Fault: it ended in another way, or said more than that.
        """
        if self.status is None:
            raise Fault(Outcome.HANG, f"{what} had to be stopped; it had said: {_end(self.err)}")
        if any(trace in self.err for trace in _TRACES):
            raise Fault(Outcome.TRACEBACK, f"{what}: {_end(self.err)}")
        if self.status < 0 and self.status not in allowed:
            raise Fault(Outcome.CRASH, f"{what} was ended by {signal.Signals(-self.status).name}: {_end(self.err)}")
        if self.status not in allowed:
            raise Fault(Outcome.STATUS, f"{what} ended with {self.status} where {allowed} are right: {_end(self.err)}")
        if self.status == 2 and not (len(self.lines) == 1 and self.lines[0].startswith("error: ")):
            raise Fault(Outcome.LINES, f"{what}, refused: {_end(self.err)}")
        if self.status in EXIT_STATUS.values() and len(self.lines) != 1 and not (importing and not self.lines):
            raise Fault(Outcome.LINES, f"{what}, ended by a signal: {_end(self.err)}")
        return self.status


def _end(text: str) -> str:
    """The last lines of what was said, in one line."""
    return " | ".join(line.strip() for line in text.splitlines()[-6:])[-900:] or "nothing"
