"""The report of a campaign: a table by part and outcome, every fault, and every trial as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import torch

from lora_perf.core.provenance import machine, versions
from tests.campaign.campaign import Verdict, as_json
from tests.campaign.outcomes import Outcome


def table(verdicts: list[Verdict]) -> str:
    """Counts by part and outcome, as Markdown; outcomes that nothing had are left out, faults never."""
    parts = list(dict.fromkeys(one.part for one in verdicts))
    counts = Counter((one.part, one.outcome) for one in verdicts)
    used = [one for one in Outcome if one.is_fault or any(counts[part, one] for part in parts)]
    lines = ["| outcome | " + " | ".join(parts) + " | all |", "| --- | " + "---: | " * (len(parts) + 1)]
    for outcome in used:
        numbers = [counts[part, outcome] for part in parts]
        lines.append(f"| {outcome} | " + " | ".join(map(str, numbers)) + f" | {sum(numbers)} |")
    totals = [sum(one.part == part for one in verdicts) for part in parts]
    lines.append("| trials | " + " | ".join(map(str, totals)) + f" | {len(verdicts)} |")
    return "\n".join(line.rstrip() for line in lines)


def write(verdicts: list[Verdict], folder: Path, *, seed: int, seconds: float) -> None:
    """Writes README.md and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"seed": seed, "seconds": round(seconds), "versions": versions(), "machine": machine(torch.device("cpu"))}
    record = {**facts, "trials": as_json(verdicts)}
    (folder / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "README.md").write_text(_page(verdicts, facts, seconds))


def _page(verdicts: list[Verdict], facts: dict[str, object], seconds: float) -> str:
    used, computer = versions(), machine(torch.device("cpu"))
    faults = [one for one in verdicts if one.outcome.is_fault]
    skipped = Counter(one.what for one in verdicts if one.outcome is Outcome.SKIPPED)
    lines = [
        "# A campaign of kills, damaged files, crowds and full disks",
        "",
        f"`python -m tests.campaign --seed {facts['seed']}`: {len(verdicts)} trials in {seconds / 60:.0f} minutes on "
        f"{computer['cores']} cores ({computer['processor']}), Python {used['python']}, torch {used['torch']}, "
        f"numpy {used['numpy']}, pyarrow {used['pyarrow']}, datasets {used['datasets']}; code {used['code'][:12]}.",
        "Outcomes in capitals are faults; a trial has the first that it met.",
        "",
        table(verdicts),
        "",
        "- **kill**: packing, representing, an experiment and its continuation, ended by SIGKILL, SIGTERM or SIGINT before or "
        "right after one of their file events (and imports, where started anew), or after a random time; some twice. The next "
        "run in the folder must leave, file by file, what an undisturbed run leaves: numbers without their times, features and "
        "packed rows to the byte, and no other file. Ctrl-C ends with 130, SIGTERM with 143, each with one line, or without a "
        "word while the libraries are still imported.",
        "- **mutant**: a zoo in one of its forms, or a finished state, or a zoo that was packed into a cache before, with one "
        "thing changed: bits, lengths, names, places, JSON values, kinds of files, permissions, numbers, shapes. A slow reader "
        "of our own (safetensors, pyarrow, csv, json) says what the input means; the program gives the same or refuses with "
        "one line. Changed caches, cells and packed files must be noticed.",
        "- **round**: four processes at once in one folder: each is right, or refused with one line.",
        "- **disk**: a full disk, /dev/full, a closed or broken stdout, a folder that another user may not write.",
        "",
        "Most processes are forks of one that has imported everything, with one thread; the zoos are small. Files are whole "
        "after a crash of the process; a crash of the machine is not tried. That a changed bit of raw weights is another "
        "adapter nobody can know: there the numbers follow the file. `--planted` plants faults and finds them.",
        "",
        f"## Faults: {len(faults)}",
        "",
        *(f"- {one.trial} ({one.what}): {one.outcome}: {' '.join(one.detail.split())[:400]}" for one in faults),
        *(["none"] if not faults else []),
    ]
    if skipped:
        lines += ["", "## Skipped", "", *(f"- {count} x {why}" for why, count in skipped.items())]
    return "\n".join(lines) + "\n"
