"""What was found, for a terminal, a pull request and a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_perf.core.tables import Table
from lora_perf.core.text import counted
from lora_perf.pairs.compare import Finding, Verdict

HEAVIER = 1.1  # a peak or a count of calls that is so many times that of the base is told
_SMALL_PEAK, _SMALL_CALLS = 1 << 16, 50  # and what is too little to be told

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
        counts: peak of memory in bytes and number of calls, of base and change; empty where they were not counted.
    """

    finding: Finding
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def heavier(self) -> list[str]:
        """What the change takes more of, in words."""
        if not self.counts:
            return []
        base, change = self.counts["base"], self.counts["change"]
        found = []
        if change["peak"] > HEAVIER * base["peak"] and change["peak"] - base["peak"] > _SMALL_PEAK:
            found.append(f"memory {base['peak'] / 1e6:.2f} -> {change['peak'] / 1e6:.2f} MB")
        if change["calls"] > HEAVIER * base["calls"] and change["calls"] - base["calls"] > _SMALL_CALLS:
            found.append(f"calls {base['calls']:,} -> {change['calls']:,}")
        return found

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
