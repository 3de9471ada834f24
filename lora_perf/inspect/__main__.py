"""`python -m lora_perf.inspect`: the report of a folder of adapter files, or of any other zoo."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status, refuse_lost_output
from lora_perf.inspect import pages, survey
from lora_perf.inspect.findings import Inspection
from lora_perf.inspect.survey import NEAR
from lora_perf.io.atomic import write_together
from lora_perf.profiling import traced

_PROBLEMS = 1


@dataclass(frozen=True)
class InspectConfig:
    """Reports what is in a collection of LoRA adapters and what is wrong with it.

    Bad files are reported, never a reason to stop; nothing is unpickled. Exit status: 0 nothing wrong, 1 problems found,
    2 a wrong argument, 130 interrupted.
    """

    path: str
    """A folder of adapter files, one file, an embedded zoo, a packed file, a data set or its Hub id."""
    near: float = NEAR
    """Cosine of two updates dW from which they count as near duplicates, from 0.9 to below 1."""
    label_column: str | None = "category_label"
    """Column of the labels, in data sets and in the metadata of adapter files; None to look for none."""
    split: str | None = None
    """Part of a data set that has several: a name, several as a+b, or all; by default its own split is kept."""
    threads: int | None = None
    """Threads that compute; by default as many as PyTorch takes."""
    scheduler: str | None = None
    """Read the weights on a Dask cluster: HOST:PORT of its scheduler, or local:N for N processes on this machine."""
    json: Path | None = None
    """Write all that was found, with every adapter's name, to this file."""
    output_dir: Path | None = None
    """Write inspect.html, one page that needs no network, inspect.md and inspect.json to this folder."""
    trace: Path | None = None
    """Folder for a trace of the work: a page, and a file for Perfetto and TensorBoard."""


def main(arguments: list[str] | None = None, prog: str = "python -m lora_perf.inspect") -> int:
    """Runs the command line; returns its exit status."""
    return exit_status(lambda: _run(arguments, prog))


def _run(arguments: list[str] | None, prog: str) -> int:
    console = terminal.console()
    with terminal.warnings_to_stderr():
        config = parsed(InspectConfig, arguments, prog, positional=True)
    say = partial(terminal.say, console)
    with traced(config.trace, "inspect", say), terminal.warnings_to_stderr(), terminal.progress(console) as tell:
        found = survey.run(
            config.path,
            near=config.near,
            label_column=config.label_column,
            split=config.split,
            threads=config.threads,
            scheduler=config.scheduler,
            progress=tell,
        )
    for table in pages.tables(found):
        terminal.show(console, table, **terminal.LIGHT)
    terminal.say(console, pages.verdict(found))
    _write(found, config)
    if config.json is None and config.output_dir is None:
        refuse_lost_output()
    return _PROBLEMS if found.problems else 0


def _write(found: Inspection, config: InspectConfig) -> None:
    """Writes the files that were asked for, all of them or none."""
    text = json.dumps(found.to_json(), indent=1).encode()
    files = {} if config.json is None else {config.json: text}
    if config.output_dir is not None:
        pages_of = {"inspect.md": pages.markdown(found), "inspect.html": found.to_html()}
        files |= {config.output_dir / "inspect.json": text}
        files |= {config.output_dir / name: page.encode() for name, page in pages_of.items()}
    write_together(files)


if __name__ == "__main__":
    sys.exit(main())
