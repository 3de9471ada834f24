"""Runs the trials of a campaign, a few at a time, each in a fork of its own, and gathers what they showed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from tests.campaign.outcomes import Fault, Outcome
from tests.campaign.places import Place

TRIAL_LIMIT = 400.0


@dataclass(frozen=True)
class Verdict:
    """What a trial showed."""

    trial: str
    part: str
    what: str
    outcome: Outcome
    detail: str
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One trial: its part, its number there, and what it does in its place."""

    part: str
    number: int
    run: Callable[[Place], Outcome]

    @property
    def identity(self) -> str:
        return f"{self.part}-{self.number}"


def carry_out(
    trials: list[Trial], folder: Path, seed: int, jobs: int = 1, keep: bool = False, limit: float = 60.0
) -> Iterator[Verdict]:
    """Runs all trials; their folders are removed, those of trials that found a fault only where `keep` is not set."""
    waiting = list(reversed(trials))
    running: dict[int, tuple[Trial, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            one = waiting.pop()
            running[_begin(one, folder, seed, limit)] = one, time.monotonic()
        for pid, (one, begin) in list(running.items()):
            done, _ = os.waitpid(pid, os.WNOHANG)
            seconds = time.monotonic() - begin
            if not done and seconds > TRIAL_LIMIT:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                done = pid
            if done:
                del running[pid]
                verdict = _verdict(one, folder, seconds)
                if not (keep and verdict.outcome.is_fault):
                    _remove(folder / one.identity)
                yield verdict
        time.sleep(0.005)


def _begin(one: Trial, folder: Path, seed: int, limit: float) -> int:
    home = folder / one.identity
    _remove(home)
    (home / "here").mkdir(parents=True)
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    place = Place(one.identity, home / "here", home / "logs", Random(f"{seed} {one.identity}"), limit=limit)
    outcome, detail = Outcome.BROKEN, ""
    try:
        outcome = one.run(place)
    except Fault as fault:
        outcome, detail = fault.outcome, fault.detail
    except BaseException:
        detail = traceback.format_exc()
    finally:
        record = {"what": place.what, "outcome": outcome.name, "detail": detail}
        (home / "verdict.json").write_text(json.dumps(record))
        os._exit(0)


def _verdict(one: Trial, folder: Path, seconds: float) -> Verdict:
    path = folder / one.identity / "verdict.json"
    if not path.exists():
        return Verdict(one.identity, one.part, "", Outcome.HANG, f"no verdict after {seconds:.0f} s", seconds)
    record = json.loads(path.read_text())
    outcome = Outcome[record["outcome"]]
    return Verdict(one.identity, one.part, record["what"], outcome, record["detail"], round(seconds, 2))


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    for inner, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(inner, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755)
    shutil.rmtree(folder)


def as_json(verdicts: list[Verdict]) -> list[dict[str, object]]:
    return [asdict(one) for one in verdicts]
