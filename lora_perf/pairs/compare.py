"""Every benchmark on base and change, suspects again by fresh workers: what the plugin, the guard and its proof share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

from lora_perf.pairs.rule import Interval, Outcome, Rule
from lora_perf.pairs.sessions import Sessions
from lora_perf.pairs.workers import BaseError, WorkerError


class Verdict(StrEnum):
    """Of one workload."""

    KEPT = "kept"
    SLOWER = "SLOWER"
    FAILS = "FAILS"
    VANISHED = "VANISHED"
    NEW = "n/a"

    @property
    def bad(self) -> bool:
        return self in (Verdict.SLOWER, Verdict.FAILS, Verdict.VANISHED)


@dataclass(frozen=True)
class Finding:
    """What was found of one workload.

    Attributes:
        outcomes: of its measurements, the first one and those by fresh workers.
        note: why there is none.
    """

    workload: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...] = field(default=())
    note: str = ""

    @property
    def interval(self) -> Interval | None:
        """Of the last measurement."""
        return self.outcomes[-1].interval if self.outcomes else None


class Bench(AbstractContextManager["Bench"]):
    """Holds a pair of sessions, and makes a fresh one where that is asked for or where one broke.

    Args:
        start: starts a pair.
    """

    def __init__(self, start: Callable[[], Sessions]) -> None:
        self._start = start
        self._pair: Sessions | None = None

    @property
    def pair(self) -> Sessions:
        if self._pair is None:
            self._pair = self._start()
        return self._pair

    def renew(self) -> None:
        """Stops the workers; the next use starts fresh ones."""
        if self._pair is not None:
            pair, self._pair = self._pair, None
            pair.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.renew()

    def measure(self, workload: str, rule: Rule, *, again: bool = False) -> Outcome | Finding:
        """Prepares a workload on both sides and measures it; a finding where that cannot be done."""
        try:
            pair = self.pair
            pair.prepare(workload)
            return rule.measure(lambda: pair.sample().ratio, lambda: pair.prepare(workload), again=again)
        except BaseError as error:
            found = Finding(workload, Verdict.NEW, note=f"the base cannot do it: {error}")
        except WorkerError as error:
            found = Finding(workload, Verdict.FAILS, note=str(error))
        if self.pair.broken:
            self.renew()
        return found


def compare(bench: Bench, workloads: Iterable[str], rule: Rule) -> Iterator[Finding]:
    """Findings of workloads, each when it is decided: suspects come last, for they are measured again.

    All suspects are measured by the same fresh workers, so that starting these costs little.
    """
    waiting: dict[str, tuple[Outcome, ...]] = dict.fromkeys(workloads, ())
    while waiting:
        for workload, before in list(waiting.items()):
            found = bench.measure(workload, rule, again=bool(before))
            if isinstance(found, Outcome):
                waiting[workload] = outcomes = (*before, found)
                decided = rule.slower(outcomes)
                if decided is None:
                    continue
                found = Finding(workload, Verdict.SLOWER if decided else Verdict.KEPT, outcomes)
            del waiting[workload]
            yield found
        if waiting:
            bench.renew()
