"""The guard itself: a base commit against this tree, workload by workload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.guard import packages
from benchmarks.guard.sides import bench_of
from benchmarks.surface import listed
from lora_perf import LoraPerfError
from lora_perf.pairs import trees
from lora_perf.pairs.compare import Finding, Verdict, compare
from lora_perf.pairs.rule import Rule

_SCALES = """
import json
from benchmarks.workloads import TABLE
print(json.dumps({name: list(one.scales) for name, one in TABLE.items()}))
"""
_STYLES = {Verdict.KEPT: "green", Verdict.NEW: "yellow"}


class Check:
    """Compares a tree with a commit of its repository.

    Args:
        root: of the tree.
        scale: of the workloads.
        rule: of the measurements.
        console: where progress and the table go.
    """

    def __init__(self, root: Path, scale: str, rule: Rule, console: Console) -> None:
        self._root = root
        self._scale = scale
        self._rule = rule
        self._console = console

    def run(self, base: str | None, workloads: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> bool:
        """Whether nothing got slower; prints the table.

        Args:
            base: name of a commit, or None for that where the branch left main.
            workloads: to compare; all, where none is named.
            gone: workloads of the base that may be missing.

        Raises:
            LoraPerfError: no such base, workload or scale, or nothing could be compared.
        """
        begin = time.monotonic()
        revision = trees.base_revision(self._root, base)
        with tempfile.TemporaryDirectory(prefix="lora_perf-guard-") as made:
            before = packages.extract_package(self._root, revision, Path(made) / "base")
            after = packages.copy_package(self._root, Path(made) / "change")
            self._say(f"base: {revision}; change: {self._root}")
            with ThreadPoolExecutor(1) as aside:
                coming = aside.submit(workload_scales, after, self._root)
                old = self._base_names(before, revision, Path(made) / "base-table")
                table = coming.result()
            findings = [
                Finding(name, Verdict.VANISHED, note="only the base has it; if that is meant: --gone")
                for name in old
                if name not in table and name not in gone and name in (workloads or old)
            ]
            chosen = self._chosen(workloads, table, old)
            for one in findings:
                self._report(one)
            if packages.same_package(before, after):
                self._say(f"nothing to time: {packages.PACKAGE} is the same on both sides; another base: --base HEAD~1")
            else:
                with bench_of(before, after, self._scale, self._root) as bench:
                    for one in compare(bench, chosen, self._rule):
                        self._report(one)
                        findings.append(one)
        if findings:
            self._console.print(_table(findings))
        self._say(_verdict(findings, time.monotonic() - begin))
        if chosen and findings and all(one.verdict is Verdict.NEW for one in findings):
            raise LoraPerfError(
                expected=f"a workload that {revision} can do", found="none of those compared", fix="choose a later --base"
            )
        return not any(one.verdict.bad for one in findings)

    def _chosen(self, workloads: tuple[str, ...], table: dict[str, list[str]], old: list[str]) -> list[str]:
        unknown = [name for name in workloads if name not in table and name not in old]
        if unknown:
            raise LoraPerfError(
                expected=f"workloads ({listed(table, 60)})", found=listed(unknown), fix="choose of these for --workloads"
            )
        return [name for name, scales in table.items() if self._scale in scales and name in (workloads or table)]

    def _base_names(self, before: Path, revision: trees.Revision, folder: Path) -> list[str]:
        """The workloads of the base's own table; none, with a word about it, where it has none that can be read."""
        found = trees.extract(self._root, revision.commit, "benchmarks", folder)
        try:
            return [] if found is None else list(workload_scales(before, folder))
        except LoraPerfError as error:
            self._say(f"the base's table of workloads cannot be read, so that none can be missed: {error.found}")
            return []

    def _report(self, one: Finding) -> None:
        style = _STYLES.get(one.verdict, "red")
        found = str(one.interval or one.note)
        self._console.print(f"[{style}]{one.verdict:8}[/] {one.workload}: {escape(found)}", highlight=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(escape(text), style="dim", highlight=False, soft_wrap=True)


def workload_scales(package: Path, root: Path) -> dict[str, list[str]]:
    """The table of workloads of a tree, with their scales.

    Args:
        package: folder with `lora_perf`.
        root: folder with `benchmarks`.

    Raises:
        LoraPerfError: it cannot be imported.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(root)])}
    command = [sys.executable, "-P", "-c", _SCALES]
    done = subprocess.run(command, env=environment, cwd=package, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoraPerfError(
            expected="workloads that can be imported",
            found=(done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1],
            fix="see `python -c 'import benchmarks.workloads'`",
        )
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


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
