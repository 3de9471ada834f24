"""`python -m lora_perf.report A B ...`: output folders of experiments side by side, or the runs of equal ones together."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.command.terminal import say, warnings_to_stderr
from lora_perf.core.errors import LoraPerfError
from lora_perf.report.compare import compared, merged, write
from lora_perf.report.results import Results
from lora_perf.report.summary import results_table


@dataclass(frozen=True)
class CompareConfig:
    """Experiments side by side: what their cells score, what differs between them, and whether that is more than chance."""

    folders: tuple[str, ...]
    """Output folders of experiments, or their results.json; the first is what the others are compared with."""
    output_dir: Path = Path("comparison")
    """Folder of comparison.md and comparison.html; of a whole report with --merge."""
    merge: bool = False
    """The experiments differ in their seeds alone: write the report of all their runs together."""


def main(arguments: list[str] | None = None, prog: str = "python -m lora_perf.report") -> int:
    """Runs the command line; returns its exit status."""
    return exit_status(lambda: _run(arguments, prog))


def _run(arguments: list[str] | None, prog: str) -> int:
    console = terminal.console()
    with warnings_to_stderr():
        config = parsed(CompareConfig, arguments, prog, positional=True)
        results = {_name(folder, config.folders): Results.load(folder) for folder in config.folders}
        if len(results) < max(2, len(config.folders)):
            raise LoraPerfError(
                expected="at least two output folders, each once",
                found=", ".join(config.folders) or "none",
                fix="name several folders",
            )
        if config.merge:
            whole = merged(results)
            terminal.show(console, results_table(whole))
            files = whole.save(config.output_dir)
        else:
            found = compared(results)
            for table in found.tables():
                terminal.show(console, table)
            for note in found.notes():
                say(console, note)
            files = write(found, config.output_dir)
        say(console, f"written to {config.output_dir}: {', '.join(files)}")
    return 0


def _name(folder: str, folders: tuple[str, ...]) -> str:
    """The last part of a path, or all of it where others end alike."""
    last = Path(folder).name
    return last if [Path(one).name for one in folders].count(last) == 1 else folder


if __name__ == "__main__":
    sys.exit(main())
