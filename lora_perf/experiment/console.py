"""What a person sees of an experiment: progress with time left on a terminal, plain log lines elsewhere, the final table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from lora_perf.command import terminal
from lora_perf.command.terminal import say
from lora_perf.core.errors import listed
from lora_perf.core.split import Split, absent_classes
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.core.zoo import SPLIT_NAMES, Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.forecast import Forecast
from lora_perf.experiment.logs import log
from lora_perf.experiment.plan import Plan, PlannedCell
from lora_perf.experiment.repeated import repeated
from lora_perf.report.cells import CellResult
from lora_perf.report.wording import TINY_WARNING, class_notes, duration, left_out, settings

_LEARNED_WIDTH = 256  # features of a learned representation, before it is known; for the progress bar only


class ConsoleObserver:
    """Shows an experiment: two progress bars on a terminal, one line a cell elsewhere (under nohup, in CI)."""

    def __init__(self, console: Console) -> None:
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
        self._total = 0
        self._done = 0

    @property
    def done(self) -> int:
        """How many cells are finished, those of earlier runs included."""
        return self._done

    def __enter__(self) -> ConsoleObserver:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _say(self, text: str) -> None:
        log.info("%s", text)
        say(self._console, text)

    def opened(self, zoo: Zoo, split: Split, plan: Plan, taken: int) -> None:
        parts = (split.train, split.validation, split.test)
        self._say(
            f"{printable(zoo.name, LONGEST)}: {counted(len(zoo), 'adapter')}, {counted(len(zoo.classes), 'class', 'classes')}, "
            f"{counted(len(zoo.layout), 'layer')}, {counted(zoo.layout.p, 'parameter')}; split {split.kind}: "
            + ", ".join(f"{len(part):,} {name}" for part, name in zip(parts, SPLIT_NAMES, strict=True))
        )
        if zoo.skipped:
            self._say(f"{left_out(len(zoo.skipped))}: {listed((one.path for one in zoo.skipped), 3)}")
        if split.resubstitution:
            self._say(TINY_WARNING)
        if found := repeated(zoo, split):
            self._say(str(found))
        untrained, untested = (absent_classes(zoo.labels, zoo.classes, rows) for rows in (split.train, split.test))
        for note in class_notes(untrained, untested):
            self._say(note)
        if taken:
            self._say(f"{taken} of {counted(len(plan.cells), 'cell')} taken from earlier runs of these settings, data and code")
        self._total, self._done = len(plan.cells), taken
        # A cell's cost is that of its first layer's weights and of the other layers', which do not depend on it.
        self._work = {one.cell.name: (one.features or _LEARNED_WIDTH) + 1000.0 for one in plan.cells}

    def representing(self, names: list[str], total: int) -> None:
        self._say(f"one pass over {counted(total, 'adapter')} for {', '.join(names)}")
        self._pass = self._progress.add_task("represent", total=total, note="adapters")

    def represented(self, count: int) -> None:
        if self._pass is not None:
            self._progress.advance(self._pass, count)

    def started(self, planned: PlannedCell) -> None:
        if self._cells is None:
            self._cells = self._progress.add_task("train", total=sum(self._work.values()), note="")
        self._best = {}
        self._progress.update(self._cells, description=printable(str(planned.cell), LONGEST), note="")

    def fitting(self, name: str, group: str) -> None:
        self._say(f"fitting {name} to the train adapters on {group}")

    def epoch(self, seed: int, epoch: int, accuracy: float) -> None:
        self._best[seed] = max(accuracy, self._best.get(seed, 0.0))
        if self._cells is not None:
            mean = sum(self._best.values()) / len(self._best)
            self._progress.update(self._cells, note=f"epoch {epoch:3d}, validation {mean:.3f}", refresh=False)

    def finished(self, result: CellResult) -> None:
        self._done += 1
        mean = sum(run.accuracy for run in result.runs) / len(result.runs)
        (setting,) = {settings(run.setting) for run in result.runs}
        about = [result.note, setting, counted(len(result.runs), "run") if result.classifier == "mlp" else ""]
        about += [f"{result.seconds:.1f} s", counted(result.features, "feature"), f"{len(result.constant):,} of them constant"]
        self._say(
            f"{self._done:3d}/{self._total} {result.cell}: accuracy {mean:.3f} ({', '.join(text for text in about if text)})"
        )
        if self._cells is not None:
            self._progress.advance(self._cells, self._work[result.cell.name])


def plan_table(config: ExperimentConfig, plan: Plan, zoo: Zoo) -> Table:
    """What `--dry-run` prints: cells of one representation and group in one line."""
    perceptrons = sum(one.cell.classifier == "mlp" for one in plan.cells)
    probes = len(plan.cells) - perceptrons
    counts = [f"{counted(perceptrons, 'cell')} x {counted(config.num_runs, 'run')}"] * (perceptrons > 0)
    counts += [f"{counted(probes, 'cell')} of probes"] * (probes > 0)
    titles = ("representation", "layer group", "layers", "features", "MB")
    title = f"{' and '.join(counts)} on {printable(zoo.name, LONGEST)} ({zoo.nbytes / 1e6:,.1f} MB of rows)"
    table = terminal.table(title, titles, right=titles[2:])
    for one in {(one.cell.representation, one.cell.group): one for one in plan.cells}.values():
        size = ["fitted when run", ""]
        if one.features is not None:
            size = [f"{one.features:,}", f"{4 * len(zoo) * one.features / 1e6:,.1f}"]
        terminal.row(table, [one.cell.representation, one.cell.group, str(len(one.layers)), *size])
    return table


def forecast_line(config: ExperimentConfig, forecast: Forecast, packed: Path | None) -> str:
    """The estimate of `--dry-run`, and where the rows come from if a packed file stands in for the data set."""
    return (
        f"about {duration(forecast.represent)} for one pass over the rows and {duration(forecast.train)} of training "
        f"(at most {duration(forecast.train_at_most)}, if no run stops before epoch {config.epochs})"
        + (f"; fitted when run, not estimated: {', '.join(forecast.left_out)}" if forecast.left_out else "")
        + (f"; rows from {packed}" if packed else "")
    )
