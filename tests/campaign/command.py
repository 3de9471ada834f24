"""The command line of the campaign."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import torch
import tyro

from tests.campaign import crowds, disks, kills, report
from tests.campaign.campaign import Trial, Verdict, carry_out
from tests.campaign.inputs import changed_input
from tests.campaign.outcomes import Outcome
from tests.campaign.places import Place
from tests.campaign.states import changed_behind_a_cache, changed_state
from tests.campaign.workbench import Bench, build


def _mutant(bench: Bench, place: Place) -> Outcome:
    (kind,) = place.random.choices((changed_input, changed_state, changed_behind_a_cache), (50, 35, 15))
    return kind(bench, place)


Part: TypeAlias = Literal["kill", "mutant", "round", "disk"]
RUNS: dict[str, Callable[[Bench, Place], Outcome]] = {
    "kill": kills.trial,
    "mutant": _mutant,
    "round": crowds.trial,
    "disk": disks.trial,
}
_QUICK = {"kill": 6, "mutant": 16, "round": 2, "disk": 4}


@dataclass(frozen=True)
class CampaignConfig:
    """Kills, mutated inputs and states, crowds and full disks: what of it lora_perf bears.

    Exit status: 0 where no trial found a fault, 1 where one did, 2 a wrong argument.
    """

    seed: int = 0
    """Every trial is drawn from it and from the trial's number."""
    kills: int = 200
    """Runs that are ended at random moments."""
    mutations: int = 500
    """Mutated inputs and states."""
    rounds: int = 20
    """Rounds of four processes in one folder."""
    disks: int = 24
    """Full disks, closed outputs and read-only folders."""
    only: tuple[Part, ...] = ()
    """These parts alone."""
    trial: tuple[str, ...] = ()
    """These trials alone, such as kill-17."""
    quick: bool = False
    """A handful of trials of each part."""
    output: Path | None = None
    """Write README.md and results.json to this folder."""
    work: Path | None = None
    """Where the trials happen; a temporary folder by default."""
    keep: bool = False
    """Keep the folders of trials that found a fault."""
    jobs: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    """Trials at a time."""
    limit: float = 60.0
    """Seconds after which a step counts as one that hangs."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    config = tyro.cli(CampaignConfig, args=arguments, prog="python -m tests.campaign")
    trials = chosen(config)
    if not trials:
        print("error: expected trials such as kill-17; found none; name one or leave --trial out", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="campaign-")) if config.work is None else config.work.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # for the trials of another user
    bench = build(_empty(folder / "bench"))
    verdicts = []
    made = [Trial(part, number, _bound(RUNS[part], bench)) for part, number in trials]
    for verdict in carry_out(made, folder, config.seed, config.jobs, config.keep, config.limit):
        verdicts.append(verdict)
        tell(verdict, config, len(verdicts), len(trials))
    seconds = time.monotonic() - begin
    faults = [one for one in verdicts if one.outcome.is_fault]
    print(report.table(verdicts))
    print(f"{len(verdicts)} trials, {len(faults)} with a fault, {seconds:.0f} s")
    if config.output is not None:
        report.write(verdicts, config.output, seed=config.seed, seconds=seconds)
    if config.work is None and not (config.keep and faults):
        shutil.rmtree(folder, ignore_errors=True)
    elif faults:
        print(f"their folders are kept in {folder}")
    return 1 if faults else 0


def chosen(config: CampaignConfig) -> list[tuple[Part, int]]:
    """Part and number of each trial that is asked for."""
    counts: dict[Part, int] = {"kill": config.kills, "mutant": config.mutations, "round": config.rounds, "disk": config.disks}
    if config.quick:
        counts = {part: min(count, _QUICK[part]) for part, count in counts.items()}
    if config.trial:
        asked = [one.rpartition("-") for one in config.trial]
        return [(part, int(number)) for part, _, number in asked if part in RUNS and number.isdecimal()]  # type: ignore[misc] # a key of RUNS
    return [(part, number) for part, count in counts.items() if part in (config.only or counts) for number in range(count)]


def tell(verdict: Verdict, config: CampaignConfig, done: int, total: int) -> None:
    """One line a trial; of a fault, how to see it again."""
    print(f"{done}/{total} {verdict.trial}: {verdict.outcome} ({verdict.what}; {verdict.seconds:.1f} s)", flush=True)
    if verdict.outcome.is_fault:
        print(f"    {verdict.detail}")
        print(f"    again: python -m tests.campaign --seed {config.seed} --trial {verdict.trial} --keep", flush=True)


def _bound(run: Callable[[Bench, Place], Outcome], bench: Bench) -> Callable[[Place], Outcome]:
    return lambda place: run(bench, place)


def _empty(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder
