"""`python -m lora_perf.experiment`: the whole ablation in one command."""

from __future__ import annotations

import sys
import time

import tyro
from rich.console import Console

from lora_perf import terminal
from lora_perf.command import exit_status
from lora_perf.experiment import runner
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.console import (
    TINY_WARNING,
    ConsoleObserver,
    duration,
    forecast_line,
    interval_note,
    log,
    log_file,
    plan_table,
    results_table,
    stages,
    warnings_to_stderr,
)
from lora_perf.experiment.forecast import forecast
from lora_perf.terminal import say


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    begin = time.perf_counter()
    console = terminal.console()
    config: ExperimentConfig | None = None

    def work() -> int:
        nonlocal config
        with warnings_to_stderr():
            config = tyro.cli(ExperimentConfig, args=arguments, prog="python -m lora_perf.experiment")
            if config.dry_run:
                _dry_run(config, console)
            elif config.preprocess_only:
                say(console, f"packed: {runner.preprocess(config)} ({duration(time.perf_counter() - begin)})")
            else:
                _run(config, console, begin)
        return 0

    return exit_status(work, lambda: _left(config))


def _run(config: ExperimentConfig, console: Console, begin: float) -> None:
    from lora_perf import report  # the one place where the experiment looks up: its results are shown at the end

    prepared = runner.prepare(config)
    runner.check_writable(config.output_dir)
    with log_file(config.output_dir):
        log.info("command: %s", " ".join(sys.argv))
        with ConsoleObserver(console) as observer:
            results = runner.run(prepared, observer)
        with prepared.clock.stage("report"):
            files = report.write(results, config.output_dir)
        console.print(results_table(results))
        say(console, TINY_WARNING if results.dataset["resubstitution"] else interval_note(results))
        took = f"{stages(results.seconds)}; {duration(time.perf_counter() - begin)} in all"
        say(console, took)
        shown = [name for name in files if not name.endswith(".png")]
        say(console, f"written to {config.output_dir}: {', '.join([*shown, 'experiment.log'])}")
        log.info(took)


def _dry_run(config: ExperimentConfig, console: Console) -> None:
    prepared = runner.prepare(config)
    packed = runner.packed_path(prepared.config)
    console.print(plan_table(prepared.config, prepared.plan, prepared.zoo))
    estimate = forecast(prepared.config, prepared.plan, prepared.zoo, prepared.split, prepared.device)
    say(console, forecast_line(prepared.config, estimate, packed if packed and packed.exists() else None))


def _left(config: ExperimentConfig | None) -> str:
    if config is None or config.dry_run or config.preprocess_only:
        return "nothing was written"
    saved = len(list((config.output_dir / "cells").glob("*.json")))
    return f"{saved} finished cells are in {config.output_dir / 'cells'}: the same command goes on from there"


if __name__ == "__main__":
    sys.exit(main())
