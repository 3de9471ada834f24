"""Two pytest sessions as a pair: how the worker of each side is started, and what it says of a test."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.pairs import worker
from lora_perf.pairs.workers import BaseError, Pair, Side, Worker, WorkerError


@dataclass(frozen=True)
class Trees:
    """Where both sides stand.

    Attributes:
        root: of the tree, the top folder of its repository.
        folder: where pytest was called, within it.
        base: the files of the base in a folder.
        arguments: those of pytest, without those of pairs.
    """

    root: Path
    folder: Path
    base: Path
    arguments: tuple[str, ...]

    def side(self, *, base: bool) -> Side:
        """How a worker is started: in the tree, or in the same place of the base, whose packages then come first."""

        def moved(path: Path) -> Path:
            return self.base / path.relative_to(self.root) if base else path

        paths = [self.root, self.root / "src", *(Path(place).resolve() for place in sys.path if place)]
        within = dict.fromkeys(path for path in paths if path == self.root or self.root in path.parents)
        paths = [moved(path) for path in within if moved(path).is_dir() and not _is_environment(path, self.root)]
        given = os.environ.get("PYTHONPATH")
        environment = {"PYTHONPATH": os.pathsep.join([*map(str, paths), *([given] if given else [])])}
        words = [self._word(word, moved) for word in self.arguments]
        script = str(Path(worker.__file__).resolve())
        return Side(
            (sys.executable, "-P", script, "{requests}", "{answers}", str(moved(self.root)), *words),
            moved(self.folder),
            environment,
        )

    def _word(self, word: str, moved: Any) -> str:
        """An argument of pytest: a path within the tree is that of the side."""
        place = word.partition("::")[0]
        if os.path.isabs(place) and Path(place).is_relative_to(self.root):
            return str(moved(Path(place))) + word[len(place) :]
        return word


def _is_environment(path: Path, root: Path) -> bool:
    """Whether a folder belongs to a virtual environment within the tree, whose packages are those of both sides."""
    return any((one / "pyvenv.cfg").exists() for one in (path, *path.parents) if one == root or root in one.parents)


class Sessions(Pair):
    """Two fresh sessions that collected the same suite, each of its own tree.

    Attributes:
        tests: the names of the benchmarks of the base.
    """

    def __init__(self, trees: Trees, *, floor: bool = False) -> None:
        self.tests: list[str] = []
        super().__init__(trees.side(base=True), trees.side(base=floor), self._meet)

    def _meet(self, side: Worker, name: str) -> None:
        """Takes the first answer of a worker: which benchmarks it collected.

        Raises:
            LoraPerfError: its tests cannot be imported.
        """
        try:
            found = side.receive()
        except WorkerError as error:
            raise LoraPerfError(
                expected=f"a suite of the {name} that pytest can collect",
                found=str(error),
                fix="correct it" if name == "change" else "choose another commit for --pairs",
            ) from error
        if found["errors"] and not found["tests"]:
            raise LoraPerfError(
                expected=f"tests of the {name} that can be imported",
                found=listed(found["errors"], 2),
                fix="correct them" if name == "change" else "choose another commit for --pairs",
            )
        if name == "base":
            self.tests = found["tests"]

    def prepare(self, name: str) -> None:
        """As `Pair.prepare`; a test that is held already is run to its end first."""
        self.finish()
        super().prepare(name)
        self._held = [self.base, self.change]

    _held: Sequence[Worker] = ()

    def prepared(self, base: dict[str, Any] | WorkerError, change: dict[str, Any] | WorkerError) -> float:
        """The seconds of a call; a side that does not come to its call is an error, and the other is run to its end."""
        self._held = [
            side
            for side, found in ((self.base, base), (self.change, change))
            if isinstance(found, dict) and found["state"] == "ready"
        ]
        for found, kind in ((change, UnmeasuredError), (base, BaseError)):
            if isinstance(found, WorkerError):
                raise found if kind is UnmeasuredError else BaseError(str(found))
            if found["state"] == "absent":
                raise kind("it is not there")
            if found["state"] == "nothing":
                raise kind(found["why"])
        assert isinstance(base, dict)
        return float(base["seconds"])

    def finish(self) -> str:
        """Has the tests that are held end; what went wrong after the call in that of the change."""
        held, self._held = self._held, ()
        for side in held:
            side.send("finish")
        told = {id(side): side.receive() for side in held}
        return str(told.get(id(self.change), {}).get("why", ""))

    def counts(self) -> dict[str, dict[str, int]]:
        """Peak of memory and number of calls of both sides."""
        return {"base": self.base.ask("count"), "change": self.change.ask("count")}


class UnmeasuredError(WorkerError):
    """A test of the change that comes to no call: it is skipped, fails, or calls nothing."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "")
