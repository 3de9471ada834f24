"""What a watched program lost, line by line, and what to write instead."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lora_perf.core.showing import duration
from lora_perf.diagnose.watching.ledger import Entry

_MANY = 10_000  # values, from which on a conversion is worth a word
_CALLS = 1_000  # of single values
_BYTES = 1 << 20
_GROWN = 20  # times that something is copied as a whole to be one piece longer
_BATCHES = 100  # of a loader
_PICKLED = 100_000  # numbers: what a program notes of its own course stays below


@dataclass(frozen=True)
class Advice:
    """What a kind of call costs, and what to write instead.

    Attributes:
        says: one sentence.
        instead: lines of code.
        source: where it is documented.
    """

    says: str
    instead: str
    source: str


_ARROW = "https://arrow.apache.org/docs/format/Columnar.html"
_FORMAT = "https://huggingface.co/docs/datasets/use_with_pytorch"
_TORCH = "https://docs.pytorch.org/docs/stable/generated/torch.from_numpy.html"
_TUNING = "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html"
_COLUMN = "lora_perf.load(ds).rows, or the values of ds.data.column(name), flattened, of nested lists of one shape"
_AT_START = "keep the values in an array from the start; torch.from_numpy(array) shares it"
_PICKLE = "https://numpy.org/doc/stable/reference/generated/numpy.save.html"
_WIDE = "dtype=np.float32 (torch.float32) where they are made"
_BATCHED = "for at in torch.randperm(n).split(batch_size): x = data[at]"


def _of_column(says: str, source: str = _ARROW) -> Advice:
    return Advice(says, _COLUMN, source)


ADVICE: Mapping[str, Advice] = {
    "column to tensor": _of_column("Each value of the column becomes a Python float of 24 bytes before it is a tensor's."),
    "column to lists": _of_column("Each value of the column becomes a Python float of 24 bytes in a list."),
    "row by row": _of_column("Each row becomes Python lists of floats, one row after the other."),
    "torch formatter": _of_column("The formatter makes a tensor of each innermost list and stacks them.", _FORMAT),
    "numpy formatter": _of_column("The formatter makes an array of each innermost list and stacks them.", _FORMAT),
    "objects of pandas": _of_column("Nested values become a NumPy object for each innermost list."),
    "to lists": Advice("Each value becomes a Python object.", "work on the array or tensor itself", _TORCH),
    "list to tensor": Advice("Python numbers are read one by one.", _AT_START, _TORCH),
    "list of arrays to tensor": Advice(
        "The arrays of a list are read value by value.", "torch.from_numpy(np.stack(arrays))", _TORCH
    ),
    "value by value": Advice("Single values are taken out one call each.", "one operation on the whole tensor", _TUNING),
    "waits for the GPU": Advice("Each call waits for the GPU.", "collect on the GPU, take out once after the loop", _TUNING),
    "small pieces joined": Advice("An object and a copy for each of thousands.", "fill one array of the whole size", _TORCH),
    "grown in a loop": Advice("All that is there is copied again for each piece.", "collect a list, join it once", _TORCH),
    "loader of tensors": Advice("Tensors in memory are taken row by row and stacked again.", _BATCHED, _TUNING),
    "float64": Advice("Values are made as float64 and then narrowed: twice the bytes, and a copy.", _WIDE, _TORCH),
    "read again": Advice("The same column is converted again.", "read it once, before the loop", _FORMAT),
    "file read": Advice("The same file is read again.", "read it once, before the loop", _TUNING),
    "numbers in a pickle": Advice(
        "Each value is written and read as a Python object of its own.",
        "keep the values in an array from the start; np.save(path, array), np.load(path)",
        _PICKLE,
    ),
    "arrays pickled one by one": Advice(
        "Each array is an object, and its type is written and looked up again.",
        "np.save(path, np.stack(arrays)), once after the loop; np.load(path)",
        _PICKLE,
    ),
}


@dataclass(frozen=True)
class Line:
    """A line that loses time.

    Attributes:
        file, line, code: of the program.
        kind: of what it does; a key of ADVICE.
        calls, values, nbytes: all of them.
        seconds: of all its calls.
        share: of the run.
        as_copy: seconds that a copy of the same bytes takes.
    """

    file: str
    line: int
    code: str
    kind: str
    calls: int
    values: int
    nbytes: int
    seconds: float
    share: float
    as_copy: float

    @property
    def advice(self) -> Advice:
        return ADVICE[self.kind]


@dataclass(frozen=True)
class Watched:
    """What watching a program found.

    Attributes:
        program: its name.
        seconds: that it ran.
        lines: that lose time, the longest first.
        status: the exit status of the program.
        foreign: whether this is a process that the program forked off: what it says is not to be told twice.
    """

    program: str
    seconds: float
    lines: tuple[Line, ...]
    status: int = 0
    foreign: bool = False

    def text(self) -> list[str]:
        """The findings as lines for a terminal."""
        if not self.lines:
            return [f"{self.program}: {duration(self.seconds)}, no line loses time to conversions of data"]
        told = []
        for one in self.lines:
            told += [
                f"{os.path.basename(one.file)}:{one.line}: {one.code}",
                f"    {one.kind}: {one.calls:,} calls, {one.values:,} values, "
                f"{duration(one.seconds)} ({one.share:.0%} of the run); "
                f"a copy of the same {one.nbytes / 1e6:,.1f} MB takes {duration(one.as_copy)}",
                f"    {one.advice.says}",
                f"    Instead: {one.advice.instead}  [{one.advice.source}]",
            ]
        return told

    def to_json(self) -> dict[str, Any]:
        lines = [asdict(one) | {"advice": asdict(one.advice)} for one in self.lines]
        return {"program": self.program, "seconds": self.seconds, "status": self.status, "lines": lines}

    def __repr__(self) -> str:
        return "\n".join(self.text())


def lines_of(entries: Mapping[tuple[str, int, str], Entry], spent: float, rate: float) -> tuple[Line, ...]:
    """The lines that are worth a word, by counts alone: whether a line is named depends on no clock.

    Args:
        spent: seconds of the whole run.
        rate: bytes a second of a copy.
    """
    found: list[Line] = []
    for (file, line, kind), entry in [*entries.items(), *_read_again(entries)]:
        if _is_worth(kind, entry):
            code = linecache.getline(file, line).strip()
            copy = entry.nbytes / rate
            found.append(
                Line(
                    file,
                    line,
                    code,
                    kind,
                    entry.calls,
                    entry.values,
                    entry.nbytes,
                    entry.whole,
                    entry.whole / max(spent, 1e-9),
                    copy,
                )
            )
    return tuple(sorted(_one_a_line(found), key=lambda one: -one.seconds))


def _is_worth(kind: str, entry: Entry) -> bool:
    if kind == "flat column":
        return False
    if kind == "file read":
        repeated = [(count, nbytes) for (_, nbytes), count in entry.keys.items() if count > 1]
        return any(count * nbytes >= _BYTES for count, nbytes in repeated)
    if kind == "numbers in a pickle":
        return entry.values >= _PICKLED
    if kind == "arrays pickled one by one":
        return entry.calls >= _CALLS
    if kind == "float64":
        return entry.nbytes >= 4 * _BYTES
    if kind == "value by value":
        return entry.calls >= _CALLS
    if kind == "waits for the GPU":
        return entry.calls >= 100
    if kind == "grown in a loop":
        return entry.calls >= _GROWN and entry.nbytes >= _BYTES
    if kind == "loader of tensors":
        return entry.calls >= _BATCHES and entry.values >= _MANY
    return entry.values >= _MANY


def _read_again(entries: Mapping[tuple[str, int, str], Entry]) -> Iterable[tuple[tuple[str, int, str], Entry]]:
    """Lines that read the same column of a data set several times, of which the form alone is no fault, or the same pickle."""
    for (file, line, kind), entry in entries.items():
        if kind.endswith(("pickle", "pickled one by one")) and entry.keys:
            yield (file, line, "file read"), entry
        if kind == "flat column":
            again = sum(count - 1 for count in entry.keys.values() if count > 1)
            if again >= 2 and entry.values * again // entry.calls >= _MANY:
                yield (file, line, "read again"), entry


def _one_a_line(lines: Iterable[Line]) -> list[Line]:
    """Of each line what comes first in ADVICE: the others follow from it."""
    order = list(ADVICE)
    best: dict[tuple[str, int], Line] = {}
    for one in lines:
        at = one.file, one.line
        if at not in best or order.index(one.kind) < order.index(best[at].kind):
            best[at] = one
    return list(best.values())
