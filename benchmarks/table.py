"""What a workload is. The table itself is in `workloads.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash


def accept(_: Any) -> None:
    """The check of a limit, whose result is not that of the workload."""


@dataclass(frozen=True)
class Baseline:
    """A slow path to the same result.

    Attributes:
        call: does `share` of the workload's work.
        check: raises AssertionError where its result is not the workload's.
    """

    call: Callable[[], Any]
    check: Callable[[Any], None]
    share: float = 1.0


@dataclass(frozen=True)
class Case:
    """A workload at one scale, its data prepared.

    Attributes:
        call: what is timed; takes nothing, returns a result.
        check: raises AssertionError where that result is wrong.
        nbytes: bytes that it has to touch.
        baselines: slow paths by name.
        limit: the least that the hardware has to do for it, such as a copy of the bytes, or None.
        before: is called before each call, outside the clock.
        layers: that it goes through, for counts per layer.
        adapters: that it goes through.
    """

    call: Callable[[], Any]
    check: Callable[[Any], None]
    nbytes: int
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    limit: Callable[[], Any] | None = None
    before: Callable[[], Any] | None = None
    layers: int = 1
    adapters: int = 1

    def checked(self) -> Any:
        """One call whose result was checked."""
        if self.before is not None:
            self.before()
        result = self.call()
        self.check(result)
        return result


@dataclass(frozen=True)
class Workload:
    """One line of the table.

    Attributes:
        name: says what is done to what, and the state of the page cache where that matters.
        stage: of the data flow.
        scales: at which it runs.
        baselines: names of the slow paths of its cases, known before any data are made.
        has_limit: whether its cases have one.
        prepare: makes the case of a scale; whatever it does is outside every clock.
    """

    name: str
    stage: str
    scales: tuple[str, ...]
    prepare: Callable[[str], Case]
    baselines: tuple[str, ...] = ()
    has_limit: bool = False

    @property
    def about(self) -> str:
        """What it does, in the first sentence of its docstring."""
        return str(inspect.getdoc(self.prepare)).partition("\n")[0]

    @property
    def version(self) -> str:
        """A hash of what decides what is measured and which result is right: edited workloads have no old results.

        That is the file of its stage, the slow paths and formulas of that stage (`baselines/` has a file of the same
        name), and the corpora. This file decides nothing of the kind, and the runners add their own sources.
        """
        digest = xxhash.xxh3_64(self.name.encode())
        stage = Path(str(inspect.getsourcefile(self.prepare)))
        here = Path(__file__).parent
        for source in (stage, here / "baselines" / stage.name, here / "corpora.py"):
            digest.update(source.read_bytes() if source.exists() else b"")
        return digest.hexdigest()


TABLE: dict[str, Workload] = {}


def workload(
    stage: str, *scales: str, name: str | None = None, baselines: tuple[str, ...] = (), limit: bool = False
) -> Callable[[Callable[[str], Case]], Callable[[str], Case]]:
    """Enters a function of a scale into the table, under its own name."""

    def enter(prepare: Callable[[str], Case]) -> Callable[[str], Case]:
        key = name or prepare.__name__
        assert key not in TABLE, f"two workloads are called {key}"
        TABLE[key] = Workload(key, stage, scales, prepare, baselines, limit)
        return prepare

    return enter
