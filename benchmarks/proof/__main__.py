"""`python -m benchmarks.proof`: which planted slowdowns guard and budgets find, and what they say of unchanged code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.corpora import ROOT
from benchmarks.proof import planting
from benchmarks.proof.study import Proof
from benchmarks.surface import console as new_console
from benchmarks.surface import exit_status, say
from benchmarks.workloads import TABLE
from lora_perf.pairs.rule import Rule

_BAD = 1
_NULL_RUNS = 200
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class ProofConfig:
    """Plants slowdowns, compares unchanged code with itself, and writes a report of what was found: about two hours.

    Exit status: 0 every slowdown of 1.15 and more was found and every mutant is sound; 1 not so; 2 a mistake of the user.
    """

    mutants: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Only these planted slowdowns, printed and not written; without null runs, unless they are asked for."""
    fit: _Flag = False
    """Only say which planted slowdowns no longer fit the package, in seconds; status 1 if one does not."""
    counts: _Flag = False
    """Only by the counts against their budgets, without a clock: some minutes, printed and not written."""
    workloads: tuple[str, ...] = ()
    """Only these workloads in null runs."""
    null_runs: int | None = None
    """Comparisons of unchanged code with itself (default: 200; none where mutants are named)."""
    busy_runs: int | None = None
    """The same beside a process that keeps a core busy (default: as --null-runs)."""
    scale: Literal["small", "medium"] = "small"
    """Size of the data."""
    output_dir: Path = Path("reports")
    """Where the dated folder of the report goes."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    return int(exit_status(lambda: _run(arguments), lambda: "a proof of all mutants goes on where it ended"))


def _run(arguments: list[str] | None) -> int:
    config = tyro.cli(ProofConfig, args=arguments, prog="python -m benchmarks.proof")
    console = new_console()
    if config.fit:
        planted = planting.load(config.mutants)
        wrong = [text for one in planted for text in planting.misfits(one, ROOT, TABLE)]
        for text in wrong:
            say(console, text)
        say(console, f"{len(planted)} planted slowdowns, {len(wrong)} faults")
        return _BAD if wrong else 0
    table = {name: one.scales for name, one in TABLE.items()}
    proof = Proof(ROOT, table, config.output_dir, config.scale, Rule(), console)
    if config.counts:
        return 0 if proof.run_counts(config.mutants) else _BAD
    default = 0 if config.mutants else _NULL_RUNS
    idle = default if config.null_runs is None else config.null_runs
    runs = {"idle": idle, "busy": idle if config.busy_runs is None else config.busy_runs}
    return 0 if proof.run(config.mutants, config.workloads, runs) else _BAD


if __name__ == "__main__":
    sys.exit(main())
