"""When a workload counts as slower: paired ratios, an interval for their median without a distribution, and when to look."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lora_perf.core.errors import LoraPerfError

CONFIDENCE = 0.98


@dataclass(frozen=True)
class Interval:
    """The median of paired ratios, change over base.

    Attributes:
        low, high: order statistics between which the median of all such ratios lies.
        confidence: with which it does, whatever the distribution of the ratios; less than `CONFIDENCE` for few pairs.
        pairs: that were timed.
    """

    median: float
    low: float
    high: float
    confidence: float
    pairs: int

    @classmethod
    def of(cls, ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
        """The narrowest symmetric interval of order statistics with at least this confidence, or the whole range.

        The number of ratios below the median of their distribution is binomial (n, 1/2), so the k-th smallest and the k-th
        largest enclose it with probability 1 - 2 P(number < k).
        """
        n = len(ratios)
        ordered = sorted(ratios)
        below = 1  # 2**n P(number < k)
        k = 1
        while 2 * (further := below + math.comb(n, k)) / 2**n <= 1 - confidence:
            below = further
            k += 1
        return cls(statistics.median(ordered), ordered[k - 1], ordered[n - k], 1 - 2 * below / 2**n, n)

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Rule:
    """When a measurement ends, and what it says.

    Pairs are timed until a look decides: the interval lies below the bound that would be too much, or above the threshold.
    The last look ends the measurement whatever it finds. Calls so slow that few pairs take all that time end with these,
    where not one of them is suspect.

    Attributes:
        suspicion: a first median above this is measured again by fresh workers.
        threshold: a median above this, of pairs whose interval lies above 1, is a vote for "slower". Unchanged code in two
            processes differs steadily by some per cent, calls of less than a millisecond by up to 10 %, because their memory
            lies in other places: fresh workers lie elsewhere, so two of three votes are asked for.
        looks: seconds of pairs after which the interval is looked at.
        least: pairs before the first look, whatever they take.
        few: pairs that clear a first measurement when they have taken as long as its last look.
        longer: by how much later the looks of a suspect are.
    """

    suspicion: float = 1.05
    threshold: float = 1.08
    looks: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    least: int = 5
    few: int = 3
    longer: float = 2.0

    def within(self, seconds: float) -> Rule:
        """The rule with its last look after some seconds, and the others as long before it as they are.

        Raises:
            LoraPerfError: none are left.
        """
        if not seconds > 0:
            raise LoraPerfError(expected="seconds above 0 for a measurement", found=f"{seconds:g}", fix="leave them at 4")
        return replace(self, looks=tuple(one * seconds / self.looks[-1] for one in self.looks))

    def measure(
        self,
        ratio: Callable[[], float],
        renew: Callable[[], object] = lambda: None,
        *,
        again: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> Outcome:
        """Times pairs until a look decides.

        Args:
            ratio: times one pair; returns change over base.
            renew: prepares the data of both sides anew, so that they lie elsewhere in memory. Its time does not count; it is
                called for a suspect alone, whenever its pairs have taken as long as the first look of others.
            again: whether it is a suspect that is measured.
            clock: seconds, for the looks.
        """
        ratios: list[float] = []
        enough = self.threshold if again else self.suspicion
        seconds = renewed = 0.0
        for look in self.looks:
            end = look * (self.longer if again else 1.0)
            while len(ratios) < self.least or seconds < end:
                if again and seconds - renewed >= self.looks[0]:
                    renew()
                    renewed = seconds
                begin = clock()
                ratios.append(ratio())
                seconds += clock() - begin
                if not again and len(ratios) >= self.few and seconds >= self.looks[-1] and max(ratios) < enough:
                    break
            interval = Interval.of(ratios)
            if interval.high < enough or interval.low > self.threshold:
                break
        return Outcome(interval, seconds)

    def votes(self, outcome: Outcome) -> bool:
        """Whether a measurement says "slower": by more than the threshold, and not by pairs that scatter around 1."""
        return outcome.interval.median > self.threshold and outcome.interval.low > 1

    def slower(self, outcomes: Sequence[Outcome]) -> bool | None:
        """Whether a workload counts as slower after some measurements, each by fresh workers; None asks for another."""
        votes = sum(self.votes(one) for one in outcomes)
        if outcomes[0].interval.median <= self.suspicion or len(outcomes) - votes == 2:
            return False
        return True if votes == 2 else None


@dataclass(frozen=True)
class Outcome:
    """What one measurement found, and the seconds that its pairs took."""

    interval: Interval
    seconds: float
