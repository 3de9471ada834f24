"""The proof that the guard finds what it should: planted slowdowns, and unchanged code that must raise no alarm."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import xxhash
from rich.console import Console
from rich.markup import escape

from benchmarks import budgets
from benchmarks.guard import suite
from benchmarks.guard.suite import PACKAGE, bench_of
from benchmarks.proof import planting, summary
from benchmarks.proof.journal import Entry, Journal, sources_key
from benchmarks.proof.planting import Mutant
from benchmarks.surface import listed
from lora_perf import LoraPerfError
from lora_perf.pairs.compare import Bench, Finding, Verdict, compare
from lora_perf.pairs.packages import copy
from lora_perf.pairs.rule import Interval, Rule

# A turn of null runs keeps its workers for some runs, or for a time after the first: long enough that starting them is not
# the most of it, short enough that many start.
_TURN_RUNS = 7
_TURN_SECONDS = 10.0
_EFFECT_SECONDS = 2.0

# `summary.LOADS` says so in words.
_BUSY = """
import time
import numpy
matrix = numpy.ones((256, 256))
while True:
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        matrix @ matrix
    time.sleep(0.05)
"""


class Proof:
    """Plants mutants and compares unchanged code with itself.

    Args:
        root: of the tree.
        table: scales of each workload.
        output_dir: where the report and the journal go.
        scale: of the workloads.
        rule: that is proved.
        console: where progress goes.
        folder: of the mutants.
    """

    def __init__(
        self,
        root: Path,
        table: dict[str, tuple[str, ...]],
        output_dir: Path,
        scale: str,
        rule: Rule,
        console: Console,
        folder: Path = planting.FOLDER,
    ) -> None:
        self._root = root
        self._table = table
        self._output_dir = output_dir
        self._scale = scale
        self._rule = rule
        self._console = console
        self._folder = folder

    def run(self, names: tuple[str, ...], workloads: tuple[str, ...], runs: dict[str, int]) -> bool:
        """Whether every mutant was sound and those of a slowdown of 1.15 and more were all found.

        A proof of all mutants is written as a report, and goes on where an interrupted one ended; one of some is printed.

        Args:
            names: of mutants; all, where none is named.
            workloads: that null runs compare; all, where none is named.
            runs: null runs by load.

        Raises:
            LoraPerfError: unknown names, a mutant that does not apply, or counts that cannot be compared with the budgets.
        """
        planted = self._planted(names)
        key = sources_key(self._root, self._scale, self._rule, workloads)
        journal = Journal(None if names else self._output_dir / f"guard-{key}.jsonl")
        _expect_known({*workloads, *(name for one in planted for name in one.workloads)}, self._table)
        with tempfile.TemporaryDirectory(prefix="lora_perf-proof-") as made:
            original = self._copy(Path(made) / "original")
            found = [self._mutant(one, original, Path(made), journal) for one in planted]
            twin = self._copy(Path(made) / "twin")
            chosen = [
                name for name, scales in self._table.items() if self._scale in scales and name in (workloads or self._table)
            ]
            nulls = {load: self._null_runs(load, n, chosen, original, twin, journal) for load, n in runs.items()}
        results = summary.results(found, nulls, self._rule, self._scale)
        for line in summary.headline(results):
            self._console.print(escape(line), highlight=False, soft_wrap=True)
        if not names:
            folder = summary.write(results, self._output_dir)
            journal.remove()
            self._console.print(f"written to {folder}", soft_wrap=True)
        return bool(results["sound"])

    def run_counts(self, names: tuple[str, ...]) -> bool:
        """Whether every mutant was sound; prints what the counts alone find of each, without a clock.

        Raises:
            LoraPerfError: as `run`.
        """
        caught: list[str] = []
        broken: list[str] = []
        planted = self._planted(names)
        for one in planted:
            with tempfile.TemporaryDirectory(prefix="lora_perf-proof-") as made:
                changed = self._copy(Path(made) / "changed")
                one.apply(changed)
                violations, error = self._count(changed, one.workloads)
            found = [{**each, "workload": name} for name, some in violations.items() for each in some]
            (broken if error else caught if found else []).append(one.name)
            text = error or summary.counters({"by_counts": sorted(found, key=summary.excess, reverse=True)})
            self._console.print(escape(f"{one.name}: {text or 'no count above its budget'}"), highlight=False, soft_wrap=True)
        self._console.print(f"{len(caught)} of {len(planted)} found by counts; broken: {listed(broken) or 'none'}")
        return not broken

    def _copy(self, folder: Path) -> Path:
        """The package of the tree in a folder of its own."""
        copy((PACKAGE,), [self._root], folder)
        return folder

    def _count(self, package: Path, workloads: tuple[str, ...]) -> tuple[dict[str, list[dict[str, Any]]], str]:
        """Where counts of workloads over the package in a folder break their budgets, and why one could not be counted."""
        path = package / "counts.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(package), str(self._root)]),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        words = [sys.executable, "-P", "-m", "benchmarks.counters", *workloads, "--output", str(path)]
        done = subprocess.run(words, cwd=package, env=environment, capture_output=True, text=True, check=False)
        counts: dict[str, dict[str, int]] = json.loads(path.read_text()) if path.exists() else {}
        known = budgets.load(self._root / "benchmarks" / "budgets.json")
        found = {
            name: [
                {"counter": one.counter, "budget": one.budget and one.budget.value, "found": one.found}
                for one in known.violations(name, some)
            ]
            for name, some in counts.items()
        }
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return found, "" if set(workloads) <= set(counts) else last

    def _sound_counts(self, package: Path, *workloads: str) -> dict[str, list[dict[str, Any]]]:
        """Where counts of workloads that give right results break their budgets.

        Raises:
            LoraPerfError: one cannot be counted.
        """
        found, error = self._count(package, workloads)
        if error:
            fix = f"see `python -m benchmarks.counters {' '.join(workloads)}`"
            raise LoraPerfError(expected=f"counts of {listed(workloads)}", found=error, fix=fix)
        return found

    def _planted(self, names: tuple[str, ...]) -> list[Mutant]:
        """The mutants of these names, all of which fit the package, where counts can be compared with their budgets."""
        planted = planting.load(names, self._folder)
        other = budgets.load().other_versions()
        if other:
            raise LoraPerfError(
                expected="the versions for which the budgets hold", found=listed(other), fix="pip install -c constraints.txt"
            )
        wrong = [one.name for one in planted if not one.fits(self._root)]
        if wrong:
            raise LoraPerfError(
                expected="planted slowdowns whose text stands exactly once in the package",
                found=f"{len(wrong)} that do not fit ({listed(wrong)})",
                fix="mend what `python -m benchmarks.proof --fit` says",
            )
        return planted

    def _mutant(self, one: Mutant, original: Path, folder: Path, journal: Journal) -> Entry:
        """What both lines find of a mutant, and by how much it really is slower, measured apart from the rule."""
        key = f"mutant {one.name} {xxhash.xxh3_64_hexdigest(repr(one).encode())}"
        if key not in journal:
            begin = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as made:
                changed = self._copy(Path(made) / "changed")
                one.apply(changed)
                found = self._plant(one, original, changed)
            seconds = time.monotonic() - begin
            journal.add(key, {"name": one.name, "what": one.what, "stage": one.stage, "found": found, "seconds": seconds})
        entry = journal[key]
        self._console.print(escape(summary.mutant_line(entry)), highlight=False, soft_wrap=True)
        return entry

    def _plant(self, one: Mutant, original: Path, changed: Path) -> list[Entry]:
        with bench_of(original, changed, self._scale, self._root, one.threads) as bench:
            found = [_plain(finding) for finding in compare(bench, map(suite.test_of, one.workloads), self._rule)]
            timed = [entry for entry in found if entry["verdict"] in (Verdict.KEPT, Verdict.SLOWER)]
            for entry in timed:
                bench.pair.prepare(suite.test_of(entry["workload"]))
                entry["effect"] = asdict(_effect(bench))
        if timed:
            violations = self._sound_counts(changed, *(entry["workload"] for entry in timed))
            for entry in timed:
                entry["violations"] = violations[entry["workload"]]
        return found

    def _null_runs(
        self, load: str, runs: int, workloads: list[str], original: Path, twin: Path, journal: Journal
    ) -> list[Entry]:
        """Turns of null runs over the workloads, each turn by fresh workers, until there are enough runs."""
        turns: list[Entry] = []
        with _busy() if load == "busy" and runs else nullcontext():
            for turn in count():
                left = runs - sum(len(one["runs"]) for one in turns)
                if left <= 0:
                    return turns
                key = f"{load} {turn}"
                if key not in journal:
                    workload = workloads[turn % len(workloads)]
                    journal.add(key, self._turn(load, workload, min(left, _TURN_RUNS), original, twin))
                turns.append(journal[key])
                self._console.print(escape(summary.turn_line(journal[key])), highlight=False, soft_wrap=True)
        raise AssertionError("count() has no end")

    def _turn(self, load: str, workload: str, most: int, original: Path, twin: Path) -> Entry:
        begin = time.monotonic()
        runs: list[Entry] = []
        with bench_of(original, twin, self._scale, self._root) as bench:
            end = math.inf
            while len(runs) < most and time.monotonic() < end:
                (found,) = compare(bench, [suite.test_of(workload)], self._rule)
                if found.verdict in (Verdict.FAILS, Verdict.NEW):
                    raise LoraPerfError(
                        expected=f"{workload} to run on unchanged code", found=found.note, fix="run pytest tests/benchmarks"
                    )
                runs.append(_plain(found))
                end = min(end, time.monotonic() + _TURN_SECONDS)
        violations = self._sound_counts(twin, workload)[workload]
        seconds = time.monotonic() - begin
        return {"load": load, "workload": workload, "runs": runs, "violations": violations, "seconds": seconds}


def _plain(finding: Finding) -> Entry:
    return {
        "workload": suite.workload_of(finding.workload),
        "verdict": finding.verdict.value,
        "note": finding.note,
        "outcomes": [asdict(one) for one in finding.outcomes],
    }


def _effect(bench: Bench) -> Interval:
    ratios: list[float] = []
    end = time.monotonic() + _EFFECT_SECONDS
    while time.monotonic() < end or len(ratios) < Rule().least:
        ratios.append(bench.pair.sample().ratio)
    return Interval.of(ratios)


def _expect_known(names: set[str], table: Mapping[str, object]) -> None:
    unknown = sorted(names - set(table))
    if unknown:
        raise LoraPerfError(
            expected=f"workloads of the table ({listed(table, 60)})", found=listed(unknown), fix="correct the name"
        )


@contextmanager
def _busy() -> Iterator[None]:
    """Keeps a core busy meanwhile."""
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-P", "-c", _BUSY], env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()
