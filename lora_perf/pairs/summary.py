"""What was found, for a terminal, a pull request and a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_perf.core.tables import Table
from lora_perf.core.text import counted
from lora_perf.pairs.compare import Finding, Verdict

HEAVIER = 1.1  # a peak or a count that is so many times that of the base is told
_SMALL = {"peak": 1 << 16, "calls": 50, "allocations": 10}  # and what is too little to be told

WORDS = {
    Verdict.SLOWER: "slower",
    Verdict.KEPT: "kept",
    Verdict.FAILS: "measured nothing",
    Verdict.VANISHED: "measured nothing",
    Verdict.NEW: "new",
}


@dataclass(frozen=True)
class Told:
    """A finding with what one call takes beside time.

    Attributes:
        counts: what `calls.counted` says of base and change; empty where they were not counted.
    """

    finding: Finding
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def heavier(self) -> list[str]:
        """What the change takes more of, in words."""
        if not self.counts:
            return []
        base, change = self.counts["base"], self.counts["change"]
        more = [one for one in _SMALL if change[one] > HEAVIER * base[one] and change[one] - base[one] > _SMALL[one]]
        return [
            f"memory {base[one] / 1e6:.2f} -> {change[one] / 1e6:.2f} MB"
            if one == "peak"
            else f"{one} {base[one]:,} -> {change[one]:,}"
            for one in more
        ]

    @property
    def line(self) -> str:
        """One line: verdict, test, ratio."""
        one = self.finding
        told = [str(one.interval) if one.interval else "", one.note, *self.heavier]
        return f"{WORDS[one.verdict]:16} {one.workload}  {'; '.join(filter(None, told))}".rstrip()

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        one = self.finding
        interval = None if one.interval is None else vars(one.interval) | {"measured": len(one.outcomes)}
        told = {"test": one.workload, "answer": WORDS[one.verdict], "bad": one.verdict.bad, "note": one.note}
        return {**told, "ratio": interval, "counts": self.counts or None}


def verdict(found: Sequence[Told], base: str, seconds: float) -> str:
    """One sentence."""
    counts = {word: sum(WORDS[one.finding.verdict] == word for one in found) for word in dict.fromkeys(WORDS.values())}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"pairs: {counted(len(found), 'benchmark')} against {base}: {told or 'none'} ({seconds:.0f} s)"


def markdown(found: Sequence[Told], base: str, seconds: float) -> str:
    """A summary for a pull request: what needs a look first, then all in a table."""
    bad = [one for one in found if one.finding.verdict.bad or one.heavier]
    lines = [f"### {verdict(found, base, seconds)}", ""]
    lines += [f"- **{WORDS[one.finding.verdict]}**: `{one.finding.workload}` {_told(one)}" for one in bad]
    rows = []
    for one in sorted(found, key=lambda one: not one.finding.verdict.bad):
        interval = one.finding.interval
        ratio = f"{interval.median:.3f}" if interval else ""
        bounds = f"{interval.low:.3f} to {interval.high:.3f}" if interval else one.finding.note
        rows.append((one.finding.workload, WORDS[one.finding.verdict], ratio, bounds, ", ".join(one.heavier)))
    table = Table("", ("benchmark", "answer", "change / base", "interval", "heavier"), rows, ("change / base",))
    return "\n".join([*lines, "", "<details><summary>All benchmarks</summary>", "", table.markdown(), "", "</details>", ""])


def _told(one: Told) -> str:
    interval = one.finding.interval
    return "; ".join(filter(None, [f"{interval} times the base" if interval else one.finding.note, *one.heavier]))
