"""`python -m lora_perf.experiment`: the whole ablation in one command."""

from __future__ import annotations

import sys
import time

from rich.console import Console

from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.command.terminal import say, warnings_to_stderr
from lora_perf.core.ambient import with_threads
from lora_perf.core.resources import pressure
from lora_perf.core.showing import duration
from lora_perf.core.text import counted
from lora_perf.experiment import runner
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.console import ConsoleObserver, forecast_lines, plan_table
from lora_perf.experiment.dataset import packed_path, preprocess
from lora_perf.experiment.folder import CELLS, run_in_folder
from lora_perf.experiment.forecast import forecast
from lora_perf.experiment.plan import share_of
from lora_perf.experiment.room import refuse_too_little, room_of
from lora_perf.profiling import traced
from lora_perf.report.summary import results_table
from lora_perf.report.wording import TINY_WARNING, interval_note, stages

_TABLES = 2  # of a question beside the table of groups; summary.md has all


def main(arguments: list[str] | None = None, prog: str = "python -m lora_perf.experiment") -> int:
    """Runs the command line; returns its exit status."""
    begin = time.perf_counter()
    console = terminal.console()
    observer = ConsoleObserver(console)
    config: ExperimentConfig | None = None

    def work() -> int:
        nonlocal config
        with warnings_to_stderr():
            config = parsed(ExperimentConfig, arguments, prog)
            with with_threads(config.threads), traced(config.trace, "experiment", lambda line: say(console, line)):
                if config.dry_run:
                    _dry_run(config, console)
                elif config.preprocess_only:
                    say(console, f"packed: {preprocess(config)} ({duration(time.perf_counter() - begin)})")
                elif config.shard is not None:
                    _shard(config, observer, console)
                else:
                    _run(config, observer, console, begin)
        return 0

    return exit_status(work, lambda: _left(config, observer.done))


def _run(config: ExperimentConfig, observer: ConsoleObserver, console: Console, begin: float) -> None:
    prepared = runner.prepare(config)
    with observer:
        kept = run_in_folder(prepared, observer, " ".join(sys.argv))
    results = kept.results
    terminal.show(console, results_table(results))
    for study in results.studies():
        for table in study.tables[:_TABLES]:
            terminal.show(console, table)
        for note in study.notes[:1]:
            say(console, note)
    say(console, TINY_WARNING if results.dataset["resubstitution"] else interval_note(results))
    say(console, f"{stages(results.seconds)}; {duration(time.perf_counter() - begin)} in all")
    say(console, f"written to {config.output_dir}: {', '.join(name for name in kept.files if not name.endswith('.png'))}")
    if kept.moved:
        say(console, kept.moved)


def _shard(config: ExperimentConfig, observer: ConsoleObserver, console: Console) -> None:
    """Trains a share of the cells; many such commands may work in one folder, and each leaves nothing but its cells."""
    prepared = runner.prepare(config)
    cells = share_of(prepared.plan, config.share or (0, 1))
    with observer:
        runner.train_cells(prepared, observer, cells)
    say(console, f"{len(cells)} of {counted(len(prepared.plan.cells), 'cell')} are in {config.output_dir / CELLS}")
    say(console, "the same command without --shard collects the cells of all shares and trains what is missing")


def _dry_run(config: ExperimentConfig, console: Console) -> None:
    prepared = runner.prepare(config)
    config, plan, zoo = prepared.config, prepared.plan, prepared.zoo
    packed = packed_path(config)
    terminal.show(console, plan_table(config, plan, zoo))
    room = room_of(config, plan, zoo, prepared.device)
    if (now := pressure()).busy:
        say(console, f"this machine is busy ({now}): the estimate holds for as long as it stays so")
    estimate = forecast(config, plan, zoo, prepared.divisions, prepared.device)
    for line in forecast_lines(config, plan, estimate, room, zoo, packed if packed and packed.exists() else None):
        say(console, line)
    refuse_too_little(config, plan, zoo, prepared.device)


def _left(config: ExperimentConfig | None, done: int) -> str:
    if config is None or config.dry_run or config.preprocess_only:
        return "nothing was written"
    cells = (
        "1 finished cell of these settings and data is"
        if done == 1
        else f"{done} finished cells of these settings and data are"
    )
    return f"{cells} in {config.output_dir / CELLS}: the same command goes on from there"


if __name__ == "__main__":
    sys.exit(main())
