"""`python -m lora_perf.diagnose DATASET`: what every way to read a data set costs, and what to write instead."""

from __future__ import annotations

import atexit
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import (
    INTERRUPTED,
    TERMINATED,
    Terminated,
    exit_status,
    give_back,
    is_own_process,
    refuse_lost_output,
)
from lora_perf.core.ambient import with_threads
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.tables import Table
from lora_perf.core.text import printable
from lora_perf.diagnose import survey
from lora_perf.diagnose.page import lead
from lora_perf.diagnose.watching import Watched
from lora_perf.diagnose.watching.program import Running
from lora_perf.io.atomic import write_together
from lora_perf.profiling import traced

_BAR = 40  # characters of the longest bar


@dataclass(frozen=True)
class DiagnoseConfig:
    """Times every way to read a data set of adapters, beside a copy of the same bytes, and says what to write instead.

    Each way reads a sample, as large as the budget allows, and is scaled to the whole. Exit status: 0 done, 2 a wrong
    argument or a source that cannot be read, 130 interrupted.
    """

    path: str
    """A folder of adapter files, a data set, a packed file, an embedded zoo, or a Hub id."""
    budget: float = 20.0
    """Seconds for all timings."""
    label_column: str | None = "category_label"
    """Column of the labels; None to look for none."""
    split: str | None = None
    """Part of a data set that has several."""
    threads: int | None = None
    """Threads that compute; by default as many as PyTorch takes."""
    json: Path | None = None
    """Write all numbers to this file."""
    html: Path | None = None
    """Write the page to this file."""
    output_dir: Path | None = None
    """Write diagnose.json and diagnose.html to this folder."""
    trace: Path | None = None
    """Folder for a trace of the timings: a page, and a file for Perfetto and TensorBoard; they take some per cent longer."""


@dataclass(frozen=True)
class WatchConfig:
    """Runs a program of yours unchanged and tells which of its lines lose time to conversions of data.

    What follows -- is the program's own. The report goes to the standard error; output, exit status and exceptions are the
    program's. Exit status: that of the program, 2 where there is none.
    """

    script: Path | None = None
    """Path of the program."""
    module: Annotated[str | None, tyro.conf.arg(aliases=["-m"])] = None
    """Or the module that `python -m` would run."""
    json: Path | None = None
    """Write all that was found to this file."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lora_perf.diagnose") -> int:
    """Runs the command line; returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = words[: words.index("--")] if "--" in words else words
    if any(word.partition("=")[0] in ("--script", "--module", "-m") for word in own):
        return exit_status(lambda: _watch(own, words[len(own) + 1 :], f"{prog} --script PROGRAM"), lambda: "")
    return exit_status(lambda: _run(words, prog))


def _run(arguments: Sequence[str] | None, prog: str) -> int:
    console = terminal.console()
    with terminal.warnings_to_stderr():
        config = parsed(DiagnoseConfig, arguments, prog, positional=True)
        told = partial(terminal.say, console)
        with with_threads(config.threads), traced(config.trace, "diagnose", told), terminal.progress(console) as tell:
            found = survey.run(
                config.path, label_column=config.label_column, split=config.split, budget=config.budget, progress=tell
            )
    terminal.show(console, Table("Storage", ("", ""), found.storage), **terminal.LIGHT)
    terminal.show(console, found.table(), **terminal.LIGHT)
    longest = max((one.whole for one in found.readings), default=1.0)
    rows = tuple((one.name, "#" * max(1, round(_BAR * one.whole / longest))) for one in found.readings if not one.error)
    terminal.show(console, Table("Seconds, to scale", ("", ""), rows), **terminal.LIGHT)
    terminal.say(console, lead(found))
    if found.busy:
        terminal.say(console, f"The machine did other work meanwhile ({found.busy}): read ratios, not clocks.")
    terminal.say(console, "")
    for line in found.advice.splitlines():
        terminal.say(console, f"    {line}")
    text, page = json.dumps(found.to_json(), indent=1).encode(), found.to_html().encode()
    files = {path: content for path, content in ((config.json, text), (config.html, page)) if path is not None}
    if config.output_dir is not None:
        files |= {config.output_dir / "diagnose.json": text, config.output_dir / "diagnose.html": page}
    write_together(files)
    if not files:
        refuse_lost_output()
    return 0


def _watch(arguments: Sequence[str], rest: Sequence[str], prog: str) -> int:
    config = parsed(WatchConfig, arguments, prog)
    if (config.script is None) == (config.module is None):
        raise LoraPerfError(
            expected="a program, by --script or by --module", found="both" if config.script else "none", fix="give one of them"
        )
    alone = is_own_process()
    running = Running(config.script, rest, module=config.module, alone=alone)
    ended = 0

    def tell() -> int:
        _tell(running.end(ended), config)
        return ended

    if alone:  # the first that is registered comes last: after the program's threads and exit handlers
        atexit.register(lambda: exit_status(tell, lambda: ""))
    try:
        give_back((signal.SIGINT,))
        ended = running.run()
    except KeyboardInterrupt as stop:
        ended = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    finally:
        give_back()
    return ended if alone else tell()


def _tell(found: Watched, config: WatchConfig) -> None:
    if found.foreign:
        return
    for line in found.text():
        print(printable(line), file=sys.stderr)
    if config.json is not None:
        write_together({config.json: json.dumps(found.to_json(), indent=1).encode()})


if __name__ == "__main__":
    sys.exit(main())
