"""`python -m benchmarks.guard`: whether this tree makes a workload slower than its base."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.corpora import ROOT
from benchmarks.guard import suite
from benchmarks.surface import exit_status, listed
from lora_perf import LoraPerfError
from lora_perf.pairs.compare import Finding, Verdict
from lora_perf.pairs.comparison import Asked, Comparison
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import count_cores
from lora_perf.pairs.trees import base_revision

_BAD, _TERMINATED = 1, 143
_STYLES = {Verdict.KEPT: "green", Verdict.NEW: "yellow"}


@dataclass(frozen=True)
class GuardConfig:
    """Times every workload on a base commit and on this tree, uncommitted changes included, in turn.

    Exit status: 0 nothing got slower; 1 something did, or gives a wrong result, or vanished; 2 a mistake of the user.
    """

    base: str | None = None
    """Commit, branch or tag to compare with; if not given, the commit where this branch left main."""
    workloads: tuple[str, ...] = ()
    """Only these workloads of the table."""
    gone: tuple[str, ...] = ()
    """Workloads of the base that this tree removes or renames on purpose."""
    scale: Literal["small", "medium"] = "small"
    """Size of the data; small decides for the whole table in minutes."""
    seconds: float = 4.0
    """The most that the first measurement of a workload takes; most are decided earlier, and very slow ones take five pairs."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(exit_status(lambda: _run(arguments), lambda: "workers were stopped and temporary folders removed"))
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str] | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 160)
    config = tyro.cli(GuardConfig, args=arguments, prog="python -m benchmarks.guard")
    return 0 if check(ROOT, config, Rule().within(config.seconds), console) else _BAD


def check(root: Path, config: GuardConfig, rule: Rule, console: Console) -> bool:
    """Whether nothing got slower; prints the table.

    Raises:
        LoraPerfError: no such base, workload or scale, or nothing could be compared.
    """

    def say(text: str) -> None:
        console.print(escape(text), style="dim", highlight=False, soft_wrap=True)

    begin = time.monotonic()
    revision = base_revision(root, config.base)
    say(f"base: {revision}; change: {root}")
    gone = tuple(suite.test_of(name) for name in config.gone)
    # The suite looks at each result before it calls the benchmark, and budgets say what a call may take beside time.
    asked = Asked(
        root, revision, suite.arguments(root, config.scale), rule, (suite.PACKAGE,), gone, rehearsed=False, counted=False
    )
    findings: list[Finding] = []

    def tell(found: Finding) -> None:
        findings.append(found)
        style = _STYLES.get(found.verdict, "red")
        text = escape(f"{found.workload}: {found.interval or found.note}")
        console.print(f"[{style}]{found.verdict:8}[/] {text}", highlight=False, soft_wrap=True)

    with Comparison(asked) as one:
        names = {side: list(filter(None, map(suite.workload_of, tests))) for side, tests in one.tests.items()}
        if one.unread:
            say(f"the base's own tests cannot be collected, so that none can be missed: {one.unread}")
        if unknown := [name for name in config.workloads if name not in names["base"] + names["change"]]:
            known = listed(names["change"], 60)
            raise LoraPerfError(expected=f"workloads ({known})", found=listed(unknown), fix="choose of these for --workloads")
        chosen = [name for name in names["change"] if name in (config.workloads or (name,))]
        if one.same:
            say(f"nothing to time: {suite.PACKAGE} is the same on both sides; another base: --base HEAD~1")
        for told in chain(one.vanished(), [] if one.same else one.compare(map(suite.test_of, chosen))):
            found = replace(told.finding, workload=suite.workload_of(told.finding.workload))
            if found.workload and found.workload in (config.workloads or (found.workload,)):
                tell(found)
        same = one.same
    several = [name for name in chosen if name in suite.ON_TWO_THREADS and not same]
    if several and count_cores() < 2:
        say(f"not compared on two threads, since there is one core: {listed(several)}")
    elif several:
        with Comparison(replace(asked, threads=2)) as one:
            for told in one.compare(map(suite.test_of, several)):
                tell(replace(told.finding, workload=f"{suite.workload_of(told.finding.workload)}, two threads"))
    if findings:
        console.print(_table(findings))
    say(_verdict(findings, time.monotonic() - begin))
    if chosen and findings and all(one.verdict is Verdict.NEW for one in findings):
        raise LoraPerfError(
            expected=f"a workload that {revision} can do", found="none of those compared", fix="choose a later --base"
        )
    return not any(one.verdict.bad for one in findings)


def _table(findings: list[Finding]) -> Table:
    table = Table(title="Change over base: median of paired ratios")
    for name in ("workload", "ratio", "interval", "pairs", "measured", "verdict"):
        table.add_column(name, justify="right" if name in ("ratio", "pairs", "measured") else "left")
    for one in sorted(findings, key=lambda one: not one.verdict.bad):
        interval = one.interval
        cells = ["", "", "", ""]
        if interval is not None:
            bounds = f"{interval.low:.3f} to {interval.high:.3f} ({interval.confidence:.0%})"
            times = len(one.outcomes)
            cells = [f"{interval.median:.3f}", bounds, str(interval.pairs), f"{times} time{'s' if times > 1 else ''}"]
        table.add_row(one.workload, *cells, f"[{_STYLES.get(one.verdict, 'red')}]{one.verdict}[/]")
    return table


def _verdict(findings: list[Finding], seconds: float) -> str:
    bad = [one for one in findings if one.verdict.bad]
    kept = sum(one.verdict is Verdict.KEPT for one in findings)
    took = f"{kept} of {len(findings)} workloads kept their speed; {seconds:.0f} s in all"
    if not bad:
        return took
    return "; ".join(f"{one.verdict}: {one.workload} {one.interval or one.note}" for one in bad) + f"; {took}"


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """A job that is cancelled stops its workers too."""
    raise SystemExit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
