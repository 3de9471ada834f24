"""Speed reports: `python -m benchmarks.report` writes one, `--budget` prints the promises and whether they are kept."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.measure import digits
from benchmarks.promises import Promise, measured
from benchmarks.record import Record, circumstances, growth, memory, plain, record
from benchmarks.surface import console as new_console
from benchmarks.surface import exit_status, pressure, replacing, say
from benchmarks.workloads import TABLE
from lora_perf import LoraPerfError

_SIZES = {"small": (16, 32, 64), "medium": (100, 1_000, 10_000)}
_MEMORY = ("load_nested", "load_array2d", "load_parquet", "load_folder", "stream_nested", "pack_nested", "represent_streamed")


@dataclass(frozen=True)
class ReportConfig:
    """Measures the table of workloads; a report takes about half an hour at medium scale."""

    budget: bool = False
    """Measure only the promises of the speed budget; exit status 1 if one is not kept."""
    scale: Literal["small", "medium"] = "medium"
    """medium: 1,000 adapters of the layout of Stable Diffusion 1.5; small: 64, to see that everything runs."""
    output_dir: Path = Path("reports")
    """Where the dated folder of the report goes."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    return int(exit_status(lambda: _run(arguments)))


def _run(arguments: list[str] | None) -> int:
    console = new_console()
    config = tyro.cli(ReportConfig, args=arguments, prog="python -m benchmarks.report")
    if not config.budget:
        _made(config.output_dir)  # before half an hour of measuring, not after it
    promises = _promises(config, console)
    console.print(_table(promises))
    for one in promises:
        if one.explanation:
            console.print(f"not kept: {one.explanation}", highlight=False)
    if not config.budget:
        folder = write(config, promises, console)
        say(console, f"written to {folder}")
    return 0 if all(one.kept for one in promises) or not config.budget else 1


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoraPerfError(
            expected=f"a folder that can be made at {folder}",
            found=str(error.strerror or error),
            fix="choose another --output-dir",
        ) from error


def _promises(config: ReportConfig, console: Console) -> list[Promise]:
    found = []
    for one in measured(config.scale, lambda text: console.print(f"measuring: {text}", style="dim")):
        word = "kept    " if one.kept else "NOT KEPT"
        busy = "" if one.kept else f" ({pressure(seconds=1)}: measure again on an idle machine)"
        console.print(f"{word} {one.text}: {one.measured.text()} {one.unit}{busy}", highlight=False)
        found.append(one)
    return found


def _table(promises: list[Promise]) -> Table:
    table = Table(title="Speed budget: median (quartiles) of paired ratios")
    for name in ("promise", "bound", "measured", "kept"):
        table.add_column(name)
    for one in promises:
        table.add_row(one.text, one.bound_text, f"{one.measured.text()} {one.unit}", "yes" if one.kept else "NO")
    return table


def write(config: ReportConfig, promises: list[Promise], console: Console) -> Path:
    """Measures every workload at the scale and writes the folder of the report."""
    facts = circumstances()
    records = []
    for name, one in TABLE.items():
        if config.scale in one.scales:
            console.print(f"measuring: {name}", style="dim")
            records.append(record(name, config.scale))
    console.print("measuring: growth and memory", style="dim")
    grown = growth(_SIZES[config.scale])
    peaks = memory(_MEMORY, config.scale)
    folder = config.output_dir / f"{facts['date']}-speed"
    for stage, title in _STAGES.items():
        chosen = [one for one in records if one.stage == stage]
        if chosen:
            figures.paths(chosen, title, _LIMITS[stage], folder / f"{stage}.svg")
    figures.growth(grown, folder / "growth.svg")
    figures.memory(peaks, folder / "memory.svg")
    results = {
        **facts,
        "command": f"python -m benchmarks.report --scale {config.scale}",
        "promises": [{**plain(one), "kept": one.kept} for one in promises],
        "records": [plain(one) for one in records],
        "growth": {action: {n: plain(spread) for n, spread in by_size.items()} for action, by_size in grown.items()},
        "memory": {name: {"peak_nbytes": peak, "nbytes": nbytes} for name, (peak, nbytes) in peaks.items()},
    }
    with replacing(folder / "results.json") as file:
        file.write(json.dumps(results, indent=1).encode())
    with replacing(folder / "README.md") as file:
        file.write(_markdown(results, promises, records).encode())
    return folder


_STAGES = {
    "loading": "Loading",
    "packing": "Packing",
    "representing": "Representations",
    "preparing": "Splitting, standardising, scoring",
    "training": "Training",
    "whole": "The whole",
}
# The least that the hardware has to do, in words; nothing where no workload of the stage has a limit.
_LIMITS = {
    "loading": "copying the same bytes",
    "packing": "writing the same bytes",
    "representing": "copying the rows",
    "preparing": "",
    "training": "the matrix products and Adam alone",
    "whole": "import torch",
}
_OF_BYTES = ("loading", "packing", "representing")  # where bytes in a second mean something


def _markdown(results: dict[str, Any], promises: list[Promise], records: list[Record]) -> str:
    machine, versions = results["machine"], results["versions"]
    changed = f" with {results['changed_files']} changed files" if results["changed_files"] else ""
    lines = [
        f"# Speed, {results['date']}",
        "",
        f"- command: `{results['command']}`, at commit {results['commit'][:12]}{changed}",
        f"- machine: {machine['processor']}, {machine['cores']} cores, torch on {machine['torch_threads']} threads",
        "- versions: " + ", ".join(f"{name} {version}" for name, version in versions.items() if name != "code"),
        "",
        "Paths that are compared were timed in turn, forwards and backwards; a ratio is the median of paired ratios, with",
        "quartiles. The first round warmed up. Slow paths that did a part of the work have their time scaled to the whole.",
        "",
        "## The budget",
        "",
        "| promise | bound | measured (quartiles, rounds) | kept |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.text} | {one.bound_text} | {one.measured.text()} {one.unit} | {'yes' if one.kept else '**no**'} |"
        for one in promises
    ]
    missed = [f"- {one.explanation}" for one in promises if one.explanation]
    lines += ["", *(["### Not kept", "", *missed, ""] if missed else []), *_fix_and_bug(records)]
    for stage, title in _STAGES.items():
        chosen = [one for one in records if one.stage == stage]
        if chosen:
            lines += [f"## {title}", "", f"![{title}]({stage}.svg)", "", *_workload_table(chosen), ""]
    lines += ["## Growth and memory", "", "![time against adapters](growth.svg)", "", "![peak memory](memory.svg)", ""]
    return "\n".join(lines)


def _fix_and_bug(records: list[Record]) -> list[str]:
    """What the published fix is worth against the bug that it was for, on each layout of the data."""
    lines = ["## The bug and its published fix", ""]
    for name, layout in (("load_nested", "nested lists, the layout of the real data"), ("load_array2d", "Array2D")):
        one = next((found for found in records if found.workload == name), None)
        if one is None:
            continue
        bug, fix = one.baselines["torch.tensor"], one.baselines["with_format-torch"]
        change = fix.seconds.median / bug.seconds.median
        verdict = f"{change:.1f} times slower" if change > 1 else f"{1 / change:.1f} times faster"
        lines.append(
            f"- On {layout}, `with_format('torch')` is **{verdict}** than `torch.tensor(column)`; reading Arrow's buffers is "
            f"{bug.ratio.median:,.0f} times faster than the bug and {fix.ratio.median:,.0f} times faster than the fix."
        )
    return [*lines, ""]


def _workload_table(records: list[Record]) -> list[str]:
    """Seconds of every path, how many times those of lora_perf they are, and bytes to touch over seconds."""
    lines = ["| workload | path | seconds (quartiles, rounds) | over lora_perf | GB/s |", "| --- | --- | --- | ---: | ---: |"]
    for one in records:

        def rate(seconds: float, one: Record = one) -> str:
            return digits(one.nbytes / seconds / 1e9) if one.stage in _OF_BYTES else ""

        lines.append(f"| {one.workload} | lora_perf | {one.fast.text()} | 1 | {rate(one.fast.median)} |")
        limit = {f"limit: {_LIMITS[one.stage]}": one.limit} if one.limit else {}
        for name, timing in {**one.baselines, **limit}.items():
            seconds, ratio = timing.seconds, digits(timing.ratio.median)
            lines.append(f"| | {name} | {seconds.text()} | {ratio} | {rate(seconds.median)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
