"""One comparison of a commit with a tree: which tests there are, and what is found of each. The plugin's and the guard's."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lora_perf.core.errors import LoraPerfError
from lora_perf.pairs import packages, trees
from lora_perf.pairs.compare import Bench, Finding, Verdict, compare
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import Sessions, Trees, collected
from lora_perf.pairs.summary import Told
from lora_perf.pairs.workers import Worker, WorkerError


@dataclass(frozen=True)
class Asked:
    """What is to be compared, and how.

    Attributes:
        folder: where pytest was called.
        revision: of the base.
        arguments: those of pytest, without those of pairs.
        packages: names of those of each side, where both sides run the tests of the tree; None where each runs its own.
        gone: tests of the base that may be missing, by their names or what stands in these behind the file.
        floor: whether the base is compared with itself.
        rehearsed: whether each test is run to its end before it is timed.
        counted: whether a call is looked at for what it takes beside time.
        threads: of each process, on as many cores.
    """

    folder: Path
    revision: trees.Revision
    arguments: tuple[str, ...]
    rule: Rule
    packages: tuple[str, ...] | None = None
    gone: tuple[str, ...] = ()
    floor: bool = False
    rehearsed: bool = True
    counted: bool = True
    threads: int = 1


class Comparison(AbstractContextManager["Comparison"]):
    """Holds the files of the base in a temporary folder, and a pair of sessions where one is asked for.

    Attributes:
        unread: why nothing is known of the base's own tests, where that is so.

    Raises:
        LoraPerfError: from anything here: the base lacks the folder or the packages, or tests cannot be imported.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._root = trees.repository(asked.folder).resolve()
        self._stack = ExitStack()
        self.unread = ""

    def __enter__(self) -> Comparison:
        asked, stack = self._asked, self._stack
        with ExitStack() as entered:
            made = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="lora_perf-pairs-"))).resolve()
            base = trees.checkout(self._root, asked.revision.commit, made / "base")
            both = None
            if asked.packages is not None:
                both = packages.both(asked.packages, self._root, base, sys.path, made / "packages")
            elif not (base / asked.folder.relative_to(self._root)).is_dir():
                raise LoraPerfError(
                    expected=f"the folder {asked.folder} in {asked.revision}", found="none", fix="choose a later base"
                )
            self._trees = Trees(self._root, asked.folder, base, asked.arguments, both, asked.threads)
            rehearsed: set[str] | None = set() if asked.rehearsed else None
            self._bench = Bench(lambda: Sessions(self._trees, floor=asked.floor, rehearsed=rehearsed))
            entered.enter_context(self._bench)
            stack.push(entered.pop_all())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def same(self) -> bool:
        """Whether both sides would run the same tests over the same packages."""
        return self._trees.packages is not None and self._trees.packages.same and not self._asked.floor

    @cached_property
    def tests(self) -> dict[str, list[str]]:
        """The benchmarks that each side has in its own tests.

        Raises:
            LoraPerfError: as above.
        """
        if self._trees.packages is None:
            return self._bench.pair.tests
        with Worker(self._trees.own(base=True)) as own:  # beside the pair, which takes as long to start
            tests = self._bench.pair.tests
            try:
                old = collected(own, "base")
            except LoraPerfError as error:
                self.unread = error.found
                old = []
        return {"base": old, "change": tests["change"]}

    def vanished(self) -> list[Told]:
        """Tests that only the base has: whether they were renamed or lost, nothing of them is measured."""
        gone = self._asked.gone
        lost = [name for name in self.tests["base"] if name not in self.tests["change"]]
        note = "only the base has it; if that is meant: --pairs-gone"
        meant = [name for name in lost if name in gone or name.partition("::")[2] in gone]
        return [Told(Finding(name, Verdict.VANISHED, note=note)) for name in lost if name not in meant]

    def compare(self, names: Iterable[str]) -> Iterator[Told]:
        """What is found of each of these tests, when it is decided."""
        names = list(names)
        bench = self._bench
        both = set(bench.pair.tests["base"])
        note = "only the change has it" if self._trees.packages is None else "the base cannot import it"
        for name in names:
            if name not in both:
                yield Told(Finding(name, Verdict.NEW, note=note))
        for one in compare(bench, [name for name in names if name in both], self._asked.rule):
            yield self._with_counts(one)

    def _with_counts(self, one: Finding) -> Told:
        """A finding with what a call takes beside time, and what went wrong after it."""
        if one.verdict not in (Verdict.KEPT, Verdict.SLOWER):
            return Told(one)
        counts: dict[str, dict[str, int]] = {}
        try:
            counts = self._bench.pair.counts() if self._asked.counted else {}
            why = self._bench.pair.finish()
        except WorkerError as error:
            why = str(error)
            self._bench.renew()
        return Told(Finding(one.workload, Verdict.FAILS, note=why) if why else one, counts)
