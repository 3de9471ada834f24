"""What a trace says: stages, operators, lines of Python and memory, as tables."""

from __future__ import annotations

import linecache
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from lora_perf.core.showing import size
from lora_perf.core.tables import Table, page
from lora_perf.core.text import LONGEST, counted, printable, shortened
from lora_perf.profiling.ranges import OWN, Path, Range, overlap
from lora_perf.profiling.sampling import Held, Line
from lora_perf.profiling.tally import Count

_LINES, _OPERATORS = 10, 20
_TEXT = 80  # characters of a line that a table shows


@dataclass(frozen=True)
class Stage:
    """All ranges of one path.

    Attributes:
        seconds: from begin to end, stages within it included.
        recorded: seconds of these in which operators were recorded.
        waited: seconds in which the traced thread waited for other threads or programs.
        inside: seconds of `recorded` in which the traced thread was in an operator of torch; what is neither is Python, NumPy,
            Arrow and files.
        count: what the operators of all threads took meanwhile, where they were recorded.
        peak: the most memory of the process's own meanwhile, in bytes.
    """

    path: Path
    times: int
    seconds: float
    recorded: float
    waited: float
    inside: float
    count: Count
    peak: int


@dataclass(frozen=True)
class HotLine:
    """A line of Python.

    Attributes:
        seconds: that threads stood in it, with all that it called in libraries.
        stage: the stage in which it cost most.
        text: the line itself.
    """

    line: Line
    seconds: float
    stage: str
    text: str


@dataclass
class Trace:
    """A trace: what it shows, and where its files are. `lora_perf.profiling.trace` fills it at the end of its block.

    Attributes:
        path, page: the Chrome trace and the page; None while it is recorded.
        seconds: from begin to end.
        recorded: of these, those in which operators were recorded.
        looks: how often lines and memory were looked at.
        allocations: whether each allocation of tensors was recorded.
        full, gave_way, missed: why there may be less than that.
        operators: by name, the costliest first.
    """

    title: str
    path: FilePath | None = None
    page: FilePath | None = None
    seconds: float = 0.0
    recorded: float = 0.0
    looks: int = 0
    allocations: bool = False
    full: bool = False
    gave_way: bool = False
    missed: int = 0
    thread: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    ranges: list[Range] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    operators: dict[str, Count] = field(default_factory=dict)
    lines: list[HotLine] = field(default_factory=list)

    def told(self) -> list[str]:
        """Sentences that the numbers need."""
        inside = (
            "operators were recorded all the time"
            if self.recorded > 0.98 * self.seconds
            else (f"operators were recorded for {_short(self.recorded)} of these, in the first part of each stage")
        )
        lines = [f"{_short(self.seconds)} in all; {inside}"]
        lines.append("what is neither in operators nor waiting is Python, NumPy, Arrow and files")
        lines += [f"{name}: {value}" for name, value in self.facts.items()]
        if self.gave_way:
            lines.append("the traced code started a profiler of PyTorch: operators were recorded until then")
        if self.missed:
            lines.append(
                f"no operators were recorded where {counted(self.missed, 'stage')} began while other threads were at work"
            )
        if self.full:
            lines.append("the trace is full: stages that began later have no operators, but all the rest")
        if not self.allocations:
            lines.append("memory is that of the process, NumPy's and Arrow's included; single allocations: memory='operators'")
        own = sum(one.seconds for one in self.stages if one.path[-1] == OWN)
        if own:
            lines.append(f"{OWN}: {_short(own)} of the time, in which operators were written")
        lines.append(f"lines and memory are what {self.looks:,} looks found")
        return lines

    def tables(self) -> list[Table]:
        """Stages, operators and lines."""
        return [self._stages(), self._operators(), self._lines()]

    def __repr__(self) -> str:
        if self.path is None:
            return f"Trace {printable(self.title, LONGEST)}, which is still recorded"
        return "\n\n".join(["\n".join([f"Trace {printable(self.title, LONGEST)}", *self.told()]), *map(repr, self.tables())])

    def to_html(self) -> str:
        """The tables, as a piece of a page."""
        return page(f"Trace {self.title}", self.told(), self.tables())

    _repr_html_ = to_html

    def _stages(self) -> Table:
        before = ("stage", "times", "seconds", "share", "waiting", "peak memory")
        columns = (*before, "recorded", "in operators", "of all threads", "calls", "launches", "bytes")
        rows = []
        for one in self.stages:
            name, share = "  " * (len(one.path) - 1) + one.path[-1], f"{one.seconds / max(self.seconds, 1e-9):.1%}"
            cells = [name, f"{one.times:,}", _short(one.seconds), share, _short(one.waited), size(one.peak)]
            if one.recorded:
                count = one.count
                cells += map(_short, (one.recorded, one.inside, count.seconds))
                cells += [f"{count.calls:,}", f"{count.launches:,}", size(count.nbytes)]
            rows.append(cells + [""] * (len(columns) - len(cells)))
        return Table("Time by stage", columns, rows, right=columns[1:])

    def _operators(self) -> Table:
        device = any(one.device for one in self.operators.values())
        columns = [
            "operator",
            "calls",
            "seconds",
            *["on the GPU"] * device,
            "launches",
            "bytes",
            *["allocated"] * self.allocations,
        ]
        rows = []
        for name, one in list(self.operators.items())[:_OPERATORS]:
            cells = [name, f"{one.calls:,}", _short(one.seconds), *[_short(one.device)] * device, f"{one.launches:,}"]
            rows.append([*cells, size(one.nbytes), *[size(one.allocated)] * self.allocations])
        rest = len(self.operators) - len(rows)
        title = "Time by operator, where they were recorded, what they call left out"
        title += f"; {rest:,} more in the trace" if rest > 0 else ""
        return Table(title, columns, rows, right=columns[1:])

    def _lines(self) -> Table:
        columns = ("line", "seconds", "share", "stage", "text")
        total = max(self.seconds, 1e-9)
        rows = [
            (
                f"{_brief(one.line.file)}:{one.line.number}",
                _short(one.seconds),
                f"{one.seconds / total:.1%}",
                one.stage,
                shortened(one.text, _TEXT),
            )
            for one in self.lines
        ]
        return Table("Lines of Python that cost most, all threads, all the time", columns, rows, right=("seconds", "share"))


def stages_of(
    ranges: Sequence[Range],
    windows: Sequence[tuple[int, int]],
    held: Sequence[Held],
    counts: Mapping[Path, Count],
    spent: Mapping[Path, float],
    waited: Mapping[Path, int],
) -> list[Stage]:
    """The stages in the order in which they first began, each with what is within it."""
    found = []
    moments = [one.moment for one in held]
    for path in dict.fromkeys(one.path for one in sorted(ranges, key=lambda one: (one.begin, len(one.path)))):
        own = [one for one in ranges if one.path == path]
        spans = [(one.begin, one.end) for one in own]
        within = [one for other, one in counts.items() if other[: len(path)] == path]
        count = Count(
            sum(one.calls for one in within),
            sum(one.seconds for one in within),
            sum(one.launches for one in within),
            sum(one.nbytes for one in within),
            sum(one.allocated for one in within),
            sum(one.device for one in within),
        )
        inside, idle = (sum(took for at, took in of.items() if at[: len(path)] == path) / 1e9 for of in (spent, waited))
        seconds, recorded = sum(one.seconds for one in own), overlap(spans, windows) / 1e9
        peak = max(_peak(held, moments, *span) for span in spans)
        found.append(Stage(path, len(own), seconds, recorded, idle, inside, count, peak))
    return _in_order(found)


def lines_of(lines: Counter[tuple[Path, Line]]) -> list[HotLine]:
    """The lines that cost most, with the stage in which each cost most of it."""
    total: Counter[Line] = Counter()
    where: dict[Line, Counter[Path]] = {}
    for (path, line), nanoseconds in lines.items():
        total[line] += nanoseconds
        where.setdefault(line, Counter())[path] += nanoseconds
    return [
        HotLine(
            line,
            nanoseconds / 1e9,
            " / ".join(where[line].most_common(1)[0][0][1:]),
            linecache.getline(line.file, line.number).strip(),
        )
        for line, nanoseconds in total.most_common(_LINES)
    ]


def _in_order(stages: list[Stage]) -> list[Stage]:
    """Each stage before those within it."""
    order = {one.path: turn for turn, one in enumerate(stages)}
    return sorted(stages, key=lambda one: [order.get(one.path[: depth + 1], 0) for depth in range(len(one.path))])


def _peak(held: Sequence[Held], moments: Sequence[int], begin: int, end: int) -> int:
    """The most memory of the process's own from the look before a moment to the one after another."""
    looks = held[max(0, bisect_left(moments, begin) - 1) : bisect_left(moments, end) + 1]
    return max((one.resident - one.mapped for one in looks), default=0)


def _brief(file: str) -> str:
    """A path as short as it can be read: from the working folder, or its last parts."""
    nearer = os.path.relpath(file)
    return nearer if not nearer.startswith("..") else "/".join(FilePath(file).parts[-3:])


def _short(seconds: float) -> str:
    """Seconds with three digits.

    >>> _short(12.345), _short(0.01899), _short(0.0000123), _short(0)
    ('12.3 s', '19 ms', '0.0123 ms', '0 s')
    """
    if seconds == 0:
        return "0 s"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
