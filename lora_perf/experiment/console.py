"""What a person sees of an experiment: progress with time left on a terminal, plain log lines elsewhere, the final table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lora_perf.classifiers import CLASSIFIERS
from lora_perf.command.terminal import say
from lora_perf.core.resources import disk_left, memory_left
from lora_perf.core.showing import duration, size
from lora_perf.core.split import Split
from lora_perf.core.tables import Table
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.divisions import Question
from lora_perf.experiment.forecast import Forecast
from lora_perf.experiment.observer import Teller
from lora_perf.experiment.plan import Plan, PlannedCell
from lora_perf.experiment.room import INTERPRETER, Room
from lora_perf.report.cells import CellResult

_LEARNED_WIDTH = 256  # features of a learned representation, before it is known; for the progress bar only


class ConsoleObserver(Teller):
    """Shows an experiment: two progress bars on a terminal, one line a cell elsewhere (under nohup, in CI)."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._pass: TaskID | None = None
        self._cells: TaskID | None = None
        self._work: dict[str, float] = {}
        self._best: dict[int, float] = {}

    def __enter__(self) -> ConsoleObserver:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        super().say(text)
        say(self._console, text)

    def opened(self, question: Question, split: Split, plan: Plan, taken: int) -> None:
        super().opened(question, split, plan, taken)
        self._work = {one.cell.name: _work(one) for one in plan.cells}

    def further(self, cells: Sequence[PlannedCell], taken: int) -> None:
        super().further(cells, taken)
        self._work |= {one.cell.name: _work(one) for one in cells}
        if self._cells is not None:
            self._progress.update(self._cells, total=sum(self._work.values()))

    def packing(self, path: Path, total: int, nbytes: int) -> None:
        super().packing(path, total, nbytes)
        self._pass = self._progress.add_task("pack", total=total, note="adapters")

    def packed(self, count: int) -> None:
        self.represented(count)

    def representing(self, names: list[str], total: int) -> None:
        super().representing(names, total)
        self._pass = self._progress.add_task("represent", total=total, note="adapters")

    def represented(self, count: int) -> None:
        if self._pass is not None:
            self._progress.advance(self._pass, count)

    def started(self, planned: PlannedCell) -> None:
        if self._cells is None:
            self._cells = self._progress.add_task("train", total=sum(self._work.values()), note="")
        self._best = {}
        self._progress.update(self._cells, description=printable(str(planned.cell), LONGEST), note="")

    def epoch(self, seed: int, epoch: int, accuracy: float) -> None:
        self._best[seed] = max(accuracy, self._best.get(seed, 0.0))
        if self._cells is not None:
            mean = sum(self._best.values()) / len(self._best)
            self._progress.update(self._cells, note=f"epoch {epoch:3d}, validation {mean:.3f}", refresh=False)

    def finished(self, result: CellResult) -> None:
        super().finished(result)
        if self._cells is not None:
            self._progress.advance(self._cells, self._work[result.cell.name])


def _work(one: PlannedCell) -> float:
    """What a cell costs: its first layer's weights, and the other layers', which do not depend on it."""
    return (one.features or _LEARNED_WIDTH) + 1000.0


def plan_table(config: ExperimentConfig, plan: Plan, zoo: Zoo) -> Table:
    """What `--dry-run` prints: cells of one representation and group in one line."""
    seeded = sum(CLASSIFIERS[one.cell.classifier].seeded for one in plan.cells)
    probes = len(plan.cells) - seeded
    counts = [f"{counted(seeded, 'cell')} x {counted(config.num_runs, 'run')}"] * (seeded > 0)
    counts += [f"{counted(probes, 'cell')} of probes"] * (probes > 0)
    titles = ("representation", "layer group", "layers", "features", "MB")
    title = f"{' and '.join(counts)} on {zoo.name} ({zoo.nbytes / 1e6:,.1f} MB of rows)"
    rows = []
    for one in {(one.cell.representation, one.cell.group): one for one in plan.cells}.values():
        size = ["fitted when run", ""]
        if one.features is not None:
            size = [f"{one.features:,}", f"{4 * len(zoo) * one.features / 1e6:,.1f}"]
        rows.append([one.cell.representation, one.cell.group, str(len(one.layers)), *size])
    return Table(title, titles, rows, titles[2:])


def forecast_lines(
    config: ExperimentConfig, plan: Plan, forecast: Forecast, room: Room, zoo: Zoo, packed: Path | None
) -> list[str]:
    """What `--dry-run` says of time, memory and disk; and where the rows come from if a packed file stands in for them."""
    whole = forecast.represent + forecast.cost + forecast.train
    pass_ = f"{duration(forecast.represent)} for one pass over the rows" if forecast.represent else "no pass over the rows"
    lines = [
        f"about {duration(whole)}: {pass_}, {duration(forecast.train)} of training "
        f"(at most {duration(forecast.train_at_most)}, if no run stops before epoch {config.epochs})"
        + (f"; fitted when run, not estimated: {', '.join(forecast.left_out)}" if forecast.left_out else "")
        + (f"; rows from {packed}" if packed else "")
    ]
    name, seconds = forecast.longest
    if name and seconds > forecast.train / 2 and len(plan.representations) > 1:
        share = f"{name} takes {seconds / forecast.train:.0%} of the training ({duration(seconds)})"
        lines.append(f"{share}: leave it out of --representations to be done sooner")
    lines.append(
        f"memory: about {size(room.memory + INTERPRETER)} of {size(memory_left() + INTERPRETER)}; "
        f"disk: {size(room.disk)} of {size(disk_left(config.output_dir))}"
        + f" (packed rows {size(room.packed)}, cached features {size(room.caches)})"
        * (room.packed + room.caches > 0)
    )
    if room.packed:
        lines.append(f"the {size(zoo.nbytes)} of rows do not fit in memory: they are packed into {config.cache} first")
    if room.memory > memory_left():
        lines.append("fewer runs train at a time than there are threads, since more do not fit in memory")
    return lines
