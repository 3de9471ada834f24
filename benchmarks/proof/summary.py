"""The report of a proof: which planted slowdowns were found, by which line, and how often unchanged code raised an alarm."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.proof.journal import Entry
from benchmarks.record import circumstances
from benchmarks.surface import replacing
from lora_perf.pairs.compare import Verdict
from lora_perf.pairs.rule import CONFIDENCE, Rule

LOADS = {"idle": "nothing else", "busy": "a process that multiplies matrices on one core, 0.2 s of 0.25 s"}
_LARGE, _SMALL = 1.15, 1.05  # slowdowns of the first must all be found; those below the second are the counters' alone
_SHOWN = 3  # counters of a mutant in the table


def results(mutants: list[Entry], nulls: dict[str, list[Entry]], rule: Rule, scale: str) -> dict[str, Any]:
    """All that was found, with what is concluded from it.

    A workload whose counts break their budget on unchanged code tells nothing of a mutant, so there its counts do not count.
    """
    unsound = sorted({turn["workload"] for turns in nulls.values() for turn in turns if turn["violations"]})
    rows = [_mutant(one, unsound) for one in mutants]
    alarms = {load: _alarms(turns, rule) for load, turns in nulls.items()}
    bands = {
        f"{_LARGE}x and more": [one for one in rows if not one["broken"] and one["slowdown"] >= _LARGE],
        f"{_SMALL}x to {_LARGE}x": [one for one in rows if not one["broken"] and _SMALL <= one["slowdown"] < _LARGE],
        f"less than {_SMALL}x": [one for one in rows if not one["broken"] and one["slowdown"] < _SMALL],
    }
    large = next(iter(bands.values()))
    return {
        **circumstances(),
        "command": " ".join(["python -m benchmarks.proof", *sys.argv[1:]]),
        "seconds": sum(one["seconds"] for one in [*mutants, *(turn for turns in nulls.values() for turn in turns)]),
        "scale": scale,
        "rule": asdict(rule) | {"confidence": CONFIDENCE},
        "sound": not unsound and not any(one["broken"] for one in rows) and all(one["caught"] for one in large),
        "unsound_counts": unsound,
        "bands": {band: _shares(chosen) for band, chosen in bands.items()},
        "alarms": alarms,
        "mutants": rows,
        "nulls": nulls,
    }


def _mutant(entry: Entry, unsound: list[str]) -> Entry:
    """An entry of the journal with what follows from it; its effect is that on the workload that it slows most."""
    found = entry["found"]
    counted = [
        {**one, "workload": finding["workload"]}
        for finding in found
        if finding["workload"] not in unsound
        for one in finding.get("violations", ())
        if one["budget"] is not None  # a count without a budget says nothing, and no test passes with it
    ]
    by_pairs = [finding["workload"] for finding in found if finding["verdict"] == Verdict.SLOWER]
    effects = [finding["effect"] for finding in found if "effect" in finding]
    effect = max(effects, key=lambda one: float(one["median"]), default=None)
    return {
        **entry,
        "broken": [f"{one['workload']}: {one['note']}" for one in found if one["verdict"] in (Verdict.FAILS, Verdict.NEW)],
        "effect": effect,
        "slowdown": 1.0 if effect is None else effect["median"],
        "by_pairs": by_pairs,
        "by_counts": sorted(counted, key=excess, reverse=True),
        "caught": bool(by_pairs or counted),
    }


def excess(violation: Entry) -> float:
    """How far a count is above its budget, as a factor."""
    return float((violation["found"] + 1) / (violation["budget"] + 1))


def _shares(rows: list[Entry]) -> dict[str, Any]:
    return {
        "planted": len(rows),
        "caught": sum(one["caught"] for one in rows),
        "by_pairs": sum(bool(one["by_pairs"]) for one in rows),
        "by_counts": sum(bool(one["by_counts"]) for one in rows),
        "missed": [one["name"] for one in rows if not one["caught"]],
    }


def _alarms(turns: list[Entry], rule: Rule) -> dict[str, Any]:
    """Of unchanged code: what each step of the rule makes of it."""
    runs = [run for turn in turns for run in turn["runs"]]
    first = [run["outcomes"][0]["interval"]["median"] for run in runs]
    false = [run for run in runs if run["verdict"] == Verdict.SLOWER]
    return {
        "runs": len(runs),
        "turns": len(turns),
        "suspects": sum(median > rule.suspicion for median in first),
        "first_alarms": sum(median > rule.threshold for median in first),
        "false_alarms": len(false),
        "workloads": sorted({run["workload"] for run in false}),
        "count_alarms": sum(bool(turn["violations"]) for turn in turns),
        "most": max((abs(median - 1) for median in first), default=0.0),
    }


def mutant_line(entry: Entry) -> str:
    """One line of progress."""
    one = _mutant(entry, [])
    if one["broken"]:
        return f"BROKEN {one['name']}: {'; '.join(one['broken'])}"
    how = [*(["pairs"] if one["by_pairs"] else []), *(["counts"] if one["by_counts"] else [])]
    found = " and ".join(how) or "NEITHER LINE"
    counted = counters(one) or "no count moved"
    return f"{one['name']} ({one['slowdown']:.2f}x): found by {found}; {counted}; {one['seconds']:.0f} s"


def turn_line(entry: Entry) -> str:
    """One line of progress."""
    medians = " ".join(f"{run['outcomes'][0]['interval']['median']:.3f}" for run in entry["runs"])
    false = sum(run["verdict"] == Verdict.SLOWER for run in entry["runs"])
    counted = f"; COUNTS {', '.join(one['counter'] for one in entry['violations'])}" if entry["violations"] else ""
    return f"{entry['load']} {entry['workload']}: {medians}; {false} false alarms{counted}; {entry['seconds']:.0f} s"


def headline(found: dict[str, Any]) -> list[str]:
    """What a proof comes to, in a few lines."""
    lines = [
        f"slowdowns of {band}: {one['caught']} of {one['planted']} found "
        f"({one['by_pairs']} by pairs, {one['by_counts']} by counts)"
        + (f"; missed: {', '.join(one['missed'])}" if one["missed"] else "")
        for band, one in found["bands"].items()
    ]
    for load, one in found["alarms"].items():
        if one["runs"]:
            lines.append(
                f"unchanged code beside {LOADS[load]}: {one['false_alarms']} false alarms in {one['runs']} runs by "
                f"{one['turns']} pairs of workers ({one['first_alarms']} after the first measurement); "
                f"by counts: {one['count_alarms']}"
            )
    broken = [one["name"] for one in found["mutants"] if one["broken"]]
    if broken:
        lines.append(f"broken mutants, whose result is wrong: {', '.join(broken)}")
    if found["unsound_counts"]:
        lines.append(f"counts that break their budget on unchanged code: {', '.join(found['unsound_counts'])}")
    return lines


def write(found: dict[str, Any], output_dir: Path) -> Path:
    """Writes README.md and results.json into the dated folder of the report."""
    folder = output_dir / f"{found['date']}-guard"
    with replacing(folder / "results.json") as file:
        file.write(json.dumps(found, indent=1).encode())
    with replacing(folder / "README.md") as file:
        file.write(_markdown(found).encode())
    return folder


def _markdown(found: dict[str, Any]) -> str:
    machine, rule = found["machine"], found["rule"]
    looks = ", ".join(f"{one:g}" for one in rule["looks"])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if name != "code")
    lines = [
        f"# What the guard finds, {found['date']}",
        "",
        f"`{found['command']}` at commit {found['commit'][:12]}"
        + (f" with {found['changed_files']} changed files" if found["changed_files"] else "")
        + f"; {machine['processor']}, {machine['cores']} cores, one thread a process; {versions}; "
        + f"{found['seconds'] / 60:.0f} minutes of measuring.",
        "",
        f"Rule: base and change in turn, scale {found['scale']}; looks after {looks} s, at {rule['least']} pairs or",
        f"more; {rule['few']} that take as long as the last look clear a call where none is suspect.",
        f"A median paired ratio above {rule['suspicion']:g} is measured again by fresh workers,",
        f"{rule['longer']:g} times as long; it counts when two of up to three medians are above",
        f"{rule['threshold']:g} with their intervals above 1. Intervals hold with",
        f"{rule['confidence']:.0%} where there are pairs enough. A slowdown is measured apart from the rule, for two seconds.",
        "",
        *(f"- {line}" for line in headline(found)),
        "",
        "## Planted slowdowns",
        "",
        "| mutant | what | slowdown | pairs | counts | found by |",
        "| --- | --- | ---: | --- | --- | --- |",
        *(_row(one) for one in sorted(found["mutants"], key=lambda one: -float(one["slowdown"]))),
        "",
        "## Unchanged code",
        "",
        "| beside | runs | pairs of workers | suspects | first above the threshold | false alarms | farthest | by counts |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load, one in found["alarms"].items():
        lines.append(
            f"| {LOADS[load]} | {one['runs']} | {one['turns']} | {one['suspects']} | {one['first_alarms']} | "
            f"{one['false_alarms']} | {one['most']:.1%} | {one['count_alarms']} |"
        )
    return "\n".join([*lines, ""])


def _row(one: Entry) -> str:
    if one["broken"]:
        return f"| {one['name']} | {one['what']} | | | | **broken**: {'; '.join(one['broken'])} |"
    how = " and ".join([*(["pairs"] if one["by_pairs"] else []), *(["counts"] if one["by_counts"] else [])]) or "**missed**"
    pairs = "; ".join(
        f"{finding['workload']} " + _interval(finding["outcomes"][-1]["interval"])
        for finding in one["found"]
        if finding["outcomes"]
    )
    return f"| {one['name']} | {one['what']} | {_interval(one['effect'])} | {pairs} | {counters(one)} | {how} |"


def _interval(one: Entry) -> str:
    return f"{one['median']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def counters(one: Entry) -> str:
    """The counters that moved most, with what they found for what budget."""
    shown = [f"{each['counter']} {each['found']:,} for {each['budget']:,}" for each in one["by_counts"][:_SHOWN]]
    more = len(one["by_counts"]) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
