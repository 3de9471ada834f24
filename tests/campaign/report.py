"""The report of a campaign: a table by part and outcome, and every trial as JSON."""

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
    """Writes README.md, with the table and every fault, and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"seed": seed, "seconds": round(seconds), "versions": versions(), "machine": machine(torch.device("cpu"))}
    (folder / "results.json").write_text(json.dumps({**facts, "trials": as_json(verdicts)}, indent=1) + "\n")
    wrong = [f"- {one.trial} ({one.what}): {one.outcome}: {one.detail}" for one in verdicts if one.outcome.is_fault]
    told = f"`python -m tests.campaign --seed {seed}`: {len(verdicts)} trials in {seconds / 60:.0f} minutes; README says more."
    page = ["# A campaign of kills, damaged files, crowds and full disks", told, table(verdicts), *(wrong or ["No fault."])]
    (folder / "README.md").write_text("\n\n".join(page) + "\n")
