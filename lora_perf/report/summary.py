"""summary.md: the results in one page of Markdown."""

from __future__ import annotations

from pathlib import Path

from lora_perf import store
from lora_perf.experiment.console import INTERVAL_NOTE, TINY_WARNING, format_p, stages
from lora_perf.experiment.results import Results


def write_summary(results: Results, folder: Path) -> None:
    """Writes summary.md, whole or not at all."""
    with store.replacing(folder / "summary.md") as file:
        file.write(summary(results).encode())


def summary(results: Results) -> str:
    """The results as Markdown."""
    data = results.dataset
    first = results.groups[0]
    lines = [
        f"# Ablation of {data['name']}",
        "",
        f"{data['adapters']:,} adapters of {data['layers']} layers and {data['parameters']:,} parameters, "
        f"{len(data['classes'])} classes; split `{data['split']}`: {data['train']:,} train, {data['validation']:,} validation, "
        f"{data['test']:,} test. {results.config['num_runs']} runs a cell. Accuracy of always naming the commonest class: "
        f"{results.chance:.3f}.",
        "",
    ]
    if data["resubstitution"]:
        lines += [f"**Warning: {TINY_WARNING}.**", ""]
    lines += ["![accuracy](accuracy.svg)", ""]
    if len(results.groups) > 1:
        lines += [f"![drop from {first}](drop.svg)", ""]
    lines += _table(results)
    lines += [
        "",
        f"{INTERVAL_NOTE} Constant features are columns that do not vary on the train adapters; they are left out.",
        "",
    ]
    lines += [f"Stages: {stages(results.seconds)}.", "", "| | |", "| --- | --- |"]
    facts = {"fingerprint of the zoo": data["fingerprint"], **results.machine, **results.versions}
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _table(results: Results) -> list[str]:
    first = results.groups[0]
    titles = ["representation", "group", "features", "constant", "accuracy", "95 % interval", "macro F1"]
    titles += [f"drop from {first}", "95 % interval", "p", "epochs", "seconds"]
    lines = ["| " + " | ".join(titles) + " |", "| --- | --- |" + " ---: |" * (len(titles) - 2)]
    for cell in results.cells:
        estimate = results.accuracy(cell.representation, cell.group)
        drop = results.drop(cell.representation, cell.group) if cell.group != first else None
        count = len(cell.runs)
        row = [cell.representation, cell.group, f"{cell.features:,}", f"{len(cell.constant):,}"]
        row += [f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"] if estimate else ["", ""]
        row += [f"{sum(run.macro_f1 for run in cell.runs) / count:.3f}"]
        row += [f"{drop.mean:+.3f}", f"{drop.low:+.3f} to {drop.high:+.3f}", format_p(drop.p)] if drop else ["", "", ""]
        row += [f"{sum(run.epochs for run in cell.runs) / count:.0f}", f"{cell.seconds:.1f}"]
        lines.append("| " + " | ".join(row) + " |")
    return lines
