"""One comparison: which tests, the two trees, the measurements, and what is written of them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf.core.errors import LoraPerfError
from lora_perf.pairs import trees
from lora_perf.pairs.compare import Bench, Finding, Verdict, compare
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import Sessions, Trees
from lora_perf.pairs.summary import Told, markdown, verdict
from lora_perf.pairs.touched import touches
from lora_perf.pairs.worker import is_benchmark, name_of
from lora_perf.pairs.workers import WorkerError

if TYPE_CHECKING:
    import pytest

_OWN = ("--pairs", "--pairs-seconds", "--pairs-json", "--pairs-markdown")  # options with a value
_FLAGS = ("--pairs-touched", "--pairs-floor")
_OTHERS = ("-n", "--numprocesses", "--dist")  # of xdist, which has no part in this


class Run:
    """What one call of `pytest --pairs` does.

    Attributes:
        found: of each benchmark.
    """

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item], base: str) -> None:
        self._config = config
        self._floor = bool(config.getoption("--pairs-floor"))
        seconds = config.getoption("--pairs-seconds")
        if not seconds > 0:
            raise LoraPerfError(expected="--pairs-seconds above 0", found=str(seconds), fix="leave it at 4")
        self._rule = Rule().within(seconds)
        self._folder = Path(config.invocation_params.dir).resolve()
        self._root = trees.repository(self._folder).resolve()
        self._revision = trees.base_revision(self._root, base)
        self._names = self._chosen([one for one in items if is_benchmark(one)])
        self._seconds = 0.0
        self.found: list[Told] = []

    def _chosen(self, items: Sequence[pytest.Item]) -> list[str]:
        """The names of the benchmarks to compare.

        Raises:
            LoraPerfError: there is none.
        """
        if not items:
            raise LoraPerfError(
                expected="tests that use the fixture benchmark", found="none among those collected", fix="choose other tests"
            )
        if self._config.getoption("--pairs-touched"):
            changed = {path.resolve() for path in trees.changed_files(self._root, self._revision.commit)}
            files = {one.path for one in items}
            touched = {file for file in files if touches(file, changed, self._root)}
            items = [one for one in items if one.path in touched]
        return [name_of(one, self._root) for one in items]

    def compare(self) -> int:
        """Measures all; returns how many got slower or measured nothing."""
        begin = time.monotonic()
        if not self._names:
            self._say("pairs: nothing that was changed is reached by a benchmark")
            return 0
        with tempfile.TemporaryDirectory(prefix="lora_perf-pairs-") as made:
            base = trees.checkout(self._root, self._revision.commit, Path(made).resolve() / "base")
            both = Trees(self._root, self._folder, base, _without_own(self._config.invocation_params.args))
            if not self._folder_of(base).is_dir():
                raise LoraPerfError(
                    expected=f"the folder {self._folder} in {self._revision}",
                    found="none",
                    fix="choose a later commit for --pairs",
                )
            with Bench(lambda: Sessions(both, floor=self._floor)) as bench:
                old = bench.pair.tests
                self._vanished(old)
                new = [name for name in self._names if name not in old]
                for name in new:
                    self._take(bench, Finding(name, Verdict.NEW, note="only the change has it"))
                for one in compare(bench, [name for name in self._names if name in old], self._rule):
                    self._take(bench, one)
        self._seconds = time.monotonic() - begin
        self._write()
        return sum(one.finding.verdict.bad for one in self.found) if not self._floor else 0

    def _folder_of(self, base: Path) -> Path:
        return base / self._folder.relative_to(self._root)

    def _vanished(self, old: Sequence[str]) -> None:
        """Tests that only the base has: whether they were renamed or lost, nothing of them is measured."""
        if not self._floor and not self._config.getoption("--pairs-touched"):
            for name in old:
                if name not in self._names:
                    self._tell(Told(Finding(name, Verdict.VANISHED, note="only the base has it")))

    def _take(self, bench: Bench[Sessions], one: Finding) -> None:
        """Keeps a finding, with what a call takes beside time, and what went wrong after it."""
        counts: dict[str, dict[str, int]] = {}
        if one.verdict in (Verdict.KEPT, Verdict.SLOWER):
            try:
                counts = bench.pair.counts()
                why = bench.pair.finish()
            except WorkerError as error:
                why = str(error)
                bench.renew()
            if why:
                one = Finding(one.workload, Verdict.FAILS, note=why)
        self._tell(Told(one, counts))

    def _tell(self, one: Told) -> None:
        self.found.append(one)
        self._say(one.line)

    def _say(self, text: str) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    def summary(self) -> list[str]:
        """What needs a look, and the sentence."""
        lines = [one.line for one in self.found if one.finding.verdict.bad or one.heavier]
        if self._floor:
            ratios = sorted(one.finding.interval.median for one in self.found if one.finding.interval)
            low, high = (ratios[0], ratios[-1]) if ratios else (1.0, 1.0)
            lines.append(f"floor: medians of the same code from {low:.3f} to {high:.3f}; smaller differences mean nothing here")
        return [*lines, verdict(self.found, str(self._revision), self._seconds)]

    def _write(self) -> None:
        base = str(self._revision)
        for name, text in (
            ("--pairs-json", json.dumps({"base": base, "tests": [one.plain() for one in self.found]}, indent=1)),
            ("--pairs-markdown", markdown(self.found, base, self._seconds)),
        ):
            path = self._config.getoption(name)
            if path is not None:
                try:
                    Path(path).write_text(text + "\n")
                except OSError as error:
                    raise LoraPerfError(
                        expected=f"a file to write at {path}", found=str(error.strerror or error), fix=f"choose another {name}"
                    ) from None


def _without_own(arguments: Sequence[object]) -> tuple[str, ...]:
    """The arguments of pytest without those of pairs and of xdist."""
    kept: list[str] = []
    skip = False
    for word in map(str, arguments):
        if skip:
            skip = False
        elif word in _OWN or word in _OTHERS:
            skip = True
        elif word in _FLAGS or word.startswith(tuple(f"{one}=" for one in (*_OWN, *_OTHERS))) or word.startswith("-n"):
            continue
        else:
            kept.append(word)
    return tuple(kept)
