"""Counts workloads and prints what is not within its budget: `python -m benchmarks.counters [WORKLOAD...]`.

The exit status is 1 where something is not. `--update` makes what is found the budget, and prints what that changes.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import budgets, counters
from benchmarks.surface import console, exit_status, listed, say
from benchmarks.workloads import TABLE
from lora_perf import LoraPerfError

SCALE = "small"
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class CountConfig:
    """Counts workloads at their smallest scale and compares them with their budgets."""

    workloads: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names in the table; all of them where none is given."""
    update: bool = False
    """Make what is found the budget, and take away budgets of workloads that are gone."""
    verbose: bool = False
    """Print all counts, with their budgets, for each layer and adapter too."""
    output: Path | None = None
    """Also write the counts, as JSON by workload."""


def chosen(names: Iterable[str]) -> list[str]:
    """The workloads of these names, in the order of the table.

    Raises:
        LoraPerfError: an unknown workload.
    """
    names = set(names)
    unknown = sorted(names - set(TABLE))
    if unknown:
        raise LoraPerfError(expected=f"workloads ({listed(TABLE, 60)})", found=listed(unknown), fix="choose some of these")
    return [name for name in TABLE if not names or name in names]


def count_all(names: Iterable[str]) -> tuple[Counts, dict[str, str]]:
    """The counts of some workloads, and the errors of those that fail or whose result is wrong, which are not counted."""
    found, errors = {}, {}
    for name in names:
        try:
            case = TABLE[name].prepare(SCALE)
            case.checked()
            found[name] = counters.count(case)
        except Exception:  # whatever is wrong with one workload, the others are counted
            errors[name] = traceback.format_exc()
    return found, errors


def differences(old: budgets.Budgets, new: budgets.Budgets) -> list[str]:
    """What changes from some budgets to others, a line each."""
    lines = [f"{name}: gone" for name in old.workloads if name not in new.workloads]
    for name, counts in new.workloads.items():
        known = old.workloads.get(name, {})
        for counter in {**known, **counts}:
            before = old.budget(name, counter).value if known else 0
            if (value := new.budget(name, counter).value) != before:
                lines.append(f"{name}: {counter} {before:,} -> {value:,}")
    pairs = ((name, old.versions.get(name), found) for name, found in new.versions.items())
    return lines + [f"{name} {before} -> {found}" for name, before, found in pairs if before != found]


def _table(name: str, counts: dict[str, int], known: budgets.Budgets) -> Table:
    table = Table(title=name)
    for column in ("counter", "found", "budget", "a layer", "an adapter", "meaning"):
        table.add_column(column, justify="left" if column in ("counter", "meaning") else "right")
    case = TABLE[name].prepare(SCALE)
    for counter, found in counts.items():
        if found:
            allowed = f"{known.budget(name, counter).value:,}" if name in known.workloads else ""
            shares = (f"{found / size:,.4g}" for size in (case.layers, case.adapters))
            table.add_row(counter, f"{found:,}", allowed, *shares, counters.MEANING[counter])
    return table


def run(config: CountConfig, to: Console) -> int:
    """Counts, compares, updates; returns the exit status.

    Raises:
        LoraPerfError: an unknown workload, or an update of some budgets under other versions than those of the rest.
    """
    names = chosen(config.workloads)
    known = budgets.load()
    others = known.other_versions()
    if others and config.update and config.workloads:
        raise LoraPerfError(
            expected="the versions with which the other budgets were taken",
            found=listed(others),
            fix="install them (pip install -c constraints.txt) or update all budgets",
        )
    counts, errors = count_all(names)
    for name, error in errors.items():
        print(f"{name} was not counted\n{error}", file=sys.stderr)
    if config.output is not None:
        config.output.write_text(json.dumps(counts))
    if config.verbose:
        for name, found in counts.items():
            to.print(_table(name, found, known))
    if config.update:
        new = known.updated(counts).without(set(known.workloads) - set(TABLE))
        for line in differences(known, new):
            say(to, line)
        new.write()
        return 1 if errors else 0
    for line in others:
        say(to, f"budgets are of other versions: {line}")
    violations = [one for name, found in counts.items() for one in known.violations(name, found)]
    for violation in violations:
        say(to, str(violation))
    for name, found in counts.items():
        if gains := known.gains(name, found):
            say(to, f"{name}: {listed(gains)} below budget; --update keeps the gain")
    say(to, f"{len(counts)} workloads, {len(violations)} counts above their budgets")
    return 1 if violations or errors else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    return int(exit_status(lambda: run(tyro.cli(CountConfig, args=arguments, prog="python -m benchmarks.counters"), console())))


if __name__ == "__main__":
    sys.exit(main())
