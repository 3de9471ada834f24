"""`pytest --pairs`: the options, which tests they choose, and what is written of what was found."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf.core.errors import LoraPerfError
from lora_perf.pairs import packages, trees
from lora_perf.pairs.comparison import Asked, Comparison
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import refuse_threads
from lora_perf.pairs.summary import Told, markdown, verdict
from lora_perf.pairs.touched import touches
from lora_perf.pairs.worker import is_benchmark, name_of

if TYPE_CHECKING:
    import pytest

# Options with a value.
_OWN = ("--pairs", *(f"--pairs-{name}" for name in ("seconds", "threads", "json", "markdown", "tests", "package", "gone")))
_FLAGS = ("--pairs-touched", "--pairs-floor")
_OTHERS = ("-n", "--numprocesses", "--dist")  # of xdist, which has no part in this


class Run:
    """What one call of `pytest --pairs` does.

    Attributes:
        found: of each benchmark.

    Raises:
        LoraPerfError: a wrong option, or no benchmark.
    """

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item], base: str) -> None:
        self._config = config
        self._option = config.getoption
        folder = Path(config.invocation_params.dir).resolve()
        self._root = trees.repository(folder).resolve()
        self._revision = trees.base_revision(self._root, base)
        chosen = [one for one in items if is_benchmark(one)]
        if not chosen:
            raise LoraPerfError(
                expected="tests that use the fixture benchmark", found="none among those collected", fix="choose other tests"
            )
        self._asked = Asked(
            folder,
            self._revision,
            _without_own(config.invocation_params.args),
            Rule().within(self._option("--pairs-seconds")),
            self._packages({one.path.resolve() for one in chosen}),
            tuple(self._option("--pairs-gone")),
            self._option("--pairs-floor"),
            threads=self._option("--pairs-threads"),
        )
        refuse_threads(self._asked.threads)
        if self._option("--pairs-touched"):
            changed = {path.resolve() for path in trees.changed_files(self._root, self._revision.commit)}
            touched = {file: touches(file, changed, self._root) for file in {one.path for one in chosen}}
            chosen = [one for one in chosen if touched[one.path]]
        self._names = [name_of(one, self._root) for one in chosen]
        self._seconds = 0.0
        self.found: list[Told] = []

    def _packages(self, tests: set[Path]) -> tuple[str, ...] | None:
        """Those of each side where both run the tests of the tree; None where each runs its own."""
        named = tuple(self._option("--pairs-package"))
        if self._option("--pairs-tests") == "own":
            if named:
                raise LoraPerfError(
                    expected="--pairs-tests here beside --pairs-package", found=" ".join(named), fix="name both, or none"
                )
            return None
        return named or packages.names(self._root, sys.path, tests)

    def compare(self) -> int:
        """Measures all; returns how many got slower or measured nothing."""
        begin = time.monotonic()
        if not self._names:
            self._say("pairs: nothing that was changed is reached by a benchmark")
            return 0
        with Comparison(self._asked) as one:
            if not (self._asked.floor or self._option("--pairs-touched")):
                for told in one.vanished():
                    self._tell(told)
            if one.unread:
                self._say(f"pairs: the base's own tests cannot be collected, so that none can be missed: {one.unread}")
            if one.same:
                self._say(f"pairs: nothing to time: {', '.join(self._asked.packages or ())} is the same on both sides")
            else:
                for told in one.compare(self._names):
                    self._tell(told)
        self._seconds = time.monotonic() - begin
        self._write()
        return sum(one.finding.verdict.bad for one in self.found) if not self._asked.floor else 0

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
        if self._asked.floor:
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
            path = self._option(name)
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
