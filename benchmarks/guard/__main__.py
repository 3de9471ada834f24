"""`python -m benchmarks.guard`: whether this tree makes a workload slower than its base."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import tyro
from rich.console import Console

from benchmarks.corpora import ROOT
from benchmarks.guard.check import Check
from benchmarks.surface import exit_status
from lora_perf import LoraPerfError
from lora_perf.pairs.rule import Rule

_BAD, _TERMINATED = 1, 143


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
    if not config.seconds > 0:
        raise LoraPerfError(expected="--seconds above 0", found=str(config.seconds), fix="leave it at 4")
    rule = Rule().within(config.seconds)
    check = Check(ROOT, config.scale, rule, console)
    return 0 if check.run(config.base, config.workloads, config.gone) else _BAD


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """A job that is cancelled stops its workers too."""
    raise SystemExit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
