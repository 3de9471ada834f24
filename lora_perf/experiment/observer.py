"""What is told of an experiment while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lora_perf.classifiers.scores import MEASURES
from lora_perf.core.errors import listed
from lora_perf.core.resources import pressure
from lora_perf.core.settings import Progress, silent
from lora_perf.core.showing import size
from lora_perf.core.split import Split, absent_classes
from lora_perf.core.target import Target
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.core.zoo import SPLIT_NAMES
from lora_perf.experiment.divisions import Question, stands_in_both
from lora_perf.experiment.logs import log
from lora_perf.experiment.plan import Plan, PlannedCell
from lora_perf.experiment.repeated import repeated
from lora_perf.report.cells import CellResult
from lora_perf.report.wording import TINY_WARNING, class_notes, left_out, settings


class Observer:
    """Whoever wants to know; what it does not care for passes by."""

    def opened(self, question: Question, split: Split, plan: Plan, taken: int) -> None:
        """The zoo is open; `taken` cells were finished before."""

    def further(self, cells: Sequence[PlannedCell], taken: int) -> None:
        """More cells follow, now that modules are ranked; `taken` of them were finished before."""

    def say(self, text: str) -> None:
        """Tells one line."""

    def packing(self, path: Path, total: int, nbytes: int) -> None:
        """A zoo of `total` adapters that does not fit in memory is written to a file, which is mapped from then on."""

    def packed(self, count: int) -> None:
        """`count` more adapters are written."""

    def representing(self, names: list[str], total: int) -> None:
        """A streamed pass over `total` adapters begins."""

    def represented(self, count: int) -> None:
        """`count` more adapters are done."""

    def started(self, planned: PlannedCell) -> None:
        """Training of a cell begins."""

    def fitting(self, name: str, group: str) -> None:
        """A learned representation of a layer group is fitted."""

    def epoch(self, seed: int, epoch: int, accuracy: float) -> None:
        """One run of the cell ended an epoch."""

    def finished(self, result: CellResult) -> None:
        """A cell is trained, scored and saved."""


class Teller(Observer):
    """Tells an experiment to the log of the package, a line at a time, and to a function of the caller.

    Args:
        progress: called with "pack", "represent" or "train", how many adapters or cells are done, and how many there are.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress_of: Progress = progress or silent
        self._adapters = 0, 0
        self._total = 0
        self._measure = "accuracy"
        self._done = 0

    @property
    def done(self) -> int:
        """How many cells are finished, those of earlier runs included."""
        return self._done

    def say(self, text: str) -> None:
        """Tells one line."""
        log.info("%s", text)

    def opened(self, question: Question, split: Split, plan: Plan, taken: int) -> None:
        zoo, target = question.zoo, question.target
        parts = (split.train, split.validation, split.test)
        self.say(
            f"{printable(zoo.name, LONGEST)}: {counted(question.own, 'adapter')}, {asked(target)}, "
            f"{counted(len(zoo.layout), 'layer')}, {counted(zoo.layout.p, 'parameter')}; split {split.kind}: "
            + ", ".join(f"{len(part):,} {name}" for part, name in zip(parts, SPLIT_NAMES, strict=True))
        )
        if (now := pressure(seconds=0)).busy:
            self.say(f"this machine is busy ({now}): it takes longer than it would")
        if zoo.skipped:
            self.say(f"{left_out(len(zoo.skipped))}: {listed((one.path for one in zoo.skipped), 3)}")
        if split.resubstitution:
            self.say(TINY_WARNING)
        if found := repeated(zoo, split):
            self.say(str(found))
        if target.task == "classes":
            untrained, untested = (absent_classes(target.values, target.names, rows) for rows in (split.train, split.test))
            for note in class_notes(untrained, untested):
                self.say(note)
        if both := stands_in_both(question, split):
            assert question.groups is not None
            self.say(f"{counted(both, 'test adapter')} with others of their {question.groups.name} among those learned from")
        if (transfer := question.transfer) is not None:
            tested = counted(len(zoo) - question.own, "adapter")
            without = f", without {transfer.left_out:,} of classes that are not learned" * bool(transfer.left_out)
            self.say(f"{tested} of {printable(transfer.name, LONGEST)} beside these, to be tested{without}")
        if taken:
            self.say(f"{taken} of {counted(len(plan.cells), 'cell')} taken from earlier runs of these settings, data and code")
        self._total, self._done = len(plan.cells), taken
        self._measure = MEASURES[target.task]

    def further(self, cells: Sequence[PlannedCell], taken: int) -> None:
        self.say(f"modules are ranked: {counted(len(cells), 'cell')} of the best, all but these, and others at random")
        self._total, self._done = self._total + len(cells), self._done + taken

    def packing(self, path: Path, total: int, nbytes: int) -> None:
        self.say(f"packing {counted(total, 'adapter')} ({size(nbytes)}), more than fits in memory, to {printable(str(path))}")
        self._adapters = 0, total

    def packed(self, count: int) -> None:
        done, total = self._adapters
        self._adapters = done + count, total
        self._progress_of("pack", *self._adapters)

    def representing(self, names: list[str], total: int) -> None:
        self.say(f"one pass over {counted(total, 'adapter')} for {', '.join(names)}")
        self._adapters = 0, total

    def represented(self, count: int) -> None:
        done, total = self._adapters
        self._adapters = done + count, total
        self._progress_of("represent", *self._adapters)

    def fitting(self, name: str, group: str) -> None:
        self.say(f"fitting {name} to the train adapters on {group}")

    def finished(self, result: CellResult) -> None:
        self._done += 1
        mean = sum(run.accuracy for run in result.runs) / len(result.runs)
        about = [result.note, settings(result.setting), counted(len(result.runs), "run") if result.seeded else ""]
        about += [f"{result.seconds:.1f} s", counted(result.features, "feature"), f"{len(result.constant):,} of them constant"]
        told = ", ".join(text for text in about if text)
        self.say(f"{self._done:3d}/{self._total} {result.cell}: {self._measure} {mean:.3f} ({told})")
        self._progress_of("train", self._done, self._total)


def asked(target: Target) -> str:
    """What is learned, in words."""
    what = {
        "classes": counted(len(target.names), "class", "classes"),
        "numbers": "numbers",
        "several": counted(len(target.names), "label"),
        "retrieval": f"{counted(len(target.names), 'class', 'classes')} to be found again",
    }[target.task]
    return f"{what} of {printable(target.name)}" if target.name else what
