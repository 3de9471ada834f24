"""`python -m benchmarks.guard`: whether this tree makes a workload slower than its base, and the proof that it tells."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import tyro
from rich.console import Console

from benchmarks.corpora import ROOT
from benchmarks.guard.check import Check
from benchmarks.guard.rule import Rule
from lora_perf.command.status import exit_status
from lora_perf.core.errors import LoraPerfError

_BAD, _TERMINATED = 1, 143
_NULL_RUNS = 200


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
    prove: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Instead: plant slowdowns, compare unchanged code with itself, and write a report of what was found."""
    mutants: tuple[str, ...] = ()
    """With --prove: only these planted slowdowns."""
    null_runs: int | None = None
    """With --prove: comparisons of unchanged code with itself (default: 200; none where mutants are named)."""
    busy_runs: int | None = None
    """With --prove: the same beside a process that keeps a core busy (default: as --null-runs)."""
    output_dir: Path = Path("reports")
    """With --prove: where the dated folder of the report goes."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return exit_status(lambda: _run(arguments), lambda: "workers were stopped and temporary folders removed")
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str] | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 160)
    config = tyro.cli(GuardConfig, args=arguments, prog="python -m benchmarks.guard")
    if not config.seconds > 0:
        raise LoraPerfError(expected="--seconds above 0", found=str(config.seconds), fix="leave it at 4")
    rule = Rule().within(config.seconds)
    if config.prove:
        from benchmarks.guard.proof import Proof

        default = 0 if config.mutants else _NULL_RUNS
        idle = default if config.null_runs is None else config.null_runs
        runs = {"idle": idle, "busy": idle if config.busy_runs is None else config.busy_runs}
        proof = Proof(ROOT, config.output_dir, config.scale, rule, console)
        return 0 if proof.run(config.mutants, config.workloads, runs) else _BAD
    check = Check(ROOT, config.scale, rule, console)
    return 0 if check.run(config.base, config.workloads, config.gone) else _BAD


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """A job that is cancelled stops its workers too."""
    raise SystemExit(_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
