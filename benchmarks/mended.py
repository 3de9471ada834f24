"""`python -m benchmarks.mended`: what following an advice of `lora_perf.diagnose` gains, program by program.

Each program with a fault is timed in turn with its twin NAME_mended.py, which is written as the advice says. Where the two do
not print the same, nothing is timed. Data sets of the programs are made once, outside of the clock.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from unittest.mock import patch

import torch
import tyro

from benchmarks import measure, surface
from benchmarks.measure import Spread, digits

PROGRAMS = Path(__file__).parent.parent / "tests" / "diagnose" / "programs"


@dataclass(frozen=True)
class MendedConfig:
    """Times programs with faults against their mended twins, in turn, and prints a table in Markdown."""

    only: tuple[str, ...] = ()
    """Names of programs; all by default."""
    folder: Path = PROGRAMS
    """Where NAME.py and NAME_mended.py lie."""
    rounds: int = 9
    """Of both in turn, after one that warms up."""
    whole: bool = False
    """Start a process for each run: what its user waits for, imports included."""
    arguments: tuple[str, ...] = ()
    """What the programs are given."""


@dataclass(frozen=True)
class Gain:
    """What mending a program gained.

    Attributes:
        name: of the program.
        kinds: of its faults, as it marks them.
        faulty, mended: seconds.
        times: the paired ratios of the two.
    """

    name: str
    kinds: tuple[str, ...]
    faulty: Spread
    mended: Spread
    times: Spread


def names(folder: Path) -> list[str]:
    """The programs of a folder that have a twin."""
    found = sorted(path.stem for path in folder.glob("*.py") if path.with_stem(f"{path.stem}_mended").exists())
    if not found:
        raise AssertionError(f"no program of {folder} has a twin: NAME.py and NAME_mended.py")
    return found


def gain(name: str, config: MendedConfig) -> Gain:
    """Times one program and its twin in turn.

    Raises:
        AssertionError: they do not print the same, or one of them fails.
    """
    run = _in_a_process if config.whole else _here
    with _prepared(config.folder):
        calls = {kind: run(config.folder / f"{name}{end}.py", config.arguments) for kind, end in _ENDS.items()}
        said = {kind: call() for kind, call in calls.items()}
        if said["faulty"] != said["mended"] or not said["faulty"]:
            raise AssertionError(f"{name}: {said['faulty']!r}, mended {said['mended']!r}: the same was to be printed")
        times = measure.in_turn(calls, rounds=config.rounds)
    spreads = {kind: Spread.of(values) for kind, values in times.items()}
    return Gain(name, kinds(name, config.folder), **spreads, times=measure.ratios(times, "faulty", "mended"))


_ENDS = {"faulty": "", "mended": "_mended"}


def kinds(name: str, folder: Path) -> tuple[str, ...]:
    """The kinds of the faults that a program marks, or a module beside it that it imports."""
    text = (folder / f"{name}.py").read_text()
    for module in re.findall(r"^import (\w+)$", text, re.MULTILINE):
        if (beside := folder / f"{module}.py").exists():
            text += beside.read_text()
    return tuple(dict.fromkeys(re.findall(r"# FAULT (.*)", text)))


@contextlib.contextmanager
def _prepared(folder: Path) -> Iterator[None]:
    """Modules of the folder are found, the files that programs leave are removed, and what libraries warn of is not told."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with patch.object(tempfile, "tempdir", scratch), patch.object(sys, "path", [str(folder), *sys.path]):
            yield


def _here(path: Path, arguments: tuple[str, ...]) -> Callable[[], str]:
    code = compile(path.read_bytes(), path, "exec", dont_inherit=True)
    return partial(_executed, code, [str(path), *arguments])


def _executed(code: CodeType, words: list[str]) -> str:
    main = ModuleType("__main__")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), patch.object(sys, "argv", words):
        exec(code, main.__dict__)
    return said.getvalue()


def _in_a_process(path: Path, arguments: tuple[str, ...]) -> Callable[[], str]:
    def call() -> str:
        command, scratch = [sys.executable, str(path), *arguments], os.environ | {"TMPDIR": tempfile.gettempdir()}
        done = subprocess.run(command, env=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{path.name} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    return call


def table(gains: list[Gain]) -> str:
    """The gains in Markdown, the largest first: medians, and in brackets the quartiles."""
    lines = ["| program | its fault | faulty, ms | mended, ms | times faster |", "| --- | --- | ---: | ---: | ---: |"]
    for one in sorted(gains, key=lambda one: -one.times.median):
        spent = [_cell(spread, 1e3) for spread in (one.faulty, one.mended)]
        lines.append(f"| `{one.name}` | {', '.join(one.kinds)} | {' | '.join(spent)} | {_cell(one.times, 1)} |")
    return "\n".join(lines)


def _cell(spread: Spread, unit: float) -> str:
    low, median, high = (digits(unit * value) for value in (spread.low, spread.median, spread.high))
    return f"{median} [{low}, {high}]"


def main(config: MendedConfig) -> int:
    """Prints the table; status 1 where a mended program is no faster."""
    gains = [gain(name, config) for name in config.only or names(config.folder)]
    machine = surface.machine(torch.device("cpu"))
    where = f"{machine['processor']}, {machine['cores']} cores, torch on {machine['torch_threads']} threads"
    print(f"{where}; medians of {config.rounds} rounds in turn [quartiles].\n\n{table(gains)}")
    if kept := [one.name for one in gains if one.times.median <= 1]:
        print(f"\nNo faster when mended: {', '.join(kept)}.")
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(MendedConfig, description=__doc__)))
