"""A trace of a block of code: ranges, operators, lines and memory, recorded together and written at its end."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.profiling import recorder, recording
from lora_perf.core.text import counted
from lora_perf.io.atomic import check_writable, replacing, write_together
from lora_perf.profiling import chrome
from lora_perf.profiling.found import Trace, lines_of, stages_of
from lora_perf.profiling.operators import Memory, Operators, Python, busy
from lora_perf.profiling.page import page_of
from lora_perf.profiling.ranges import Clock, Ranges, Timeline, overlap
from lora_perf.profiling.sampling import Sampler
from lora_perf.profiling.tally import Tally

SECONDS = 0.2  # of each stage: some 10,000 operators of small tensors, which take a third of a second to write
_NAME_MARKS = "-_"


@contextmanager
def trace(
    folder: str | Path,
    name: str = "trace",
    *,
    seconds: float = SECONDS,
    memory: Memory = "process",
    python: Python = "sampled",
) -> Iterator[Trace]:
    """Traces a block of code, and writes `NAME.TIME.pt.trace.json` and `NAME.TIME.html` to a folder at its end.

    Stages of this package, and those that `stage` names, are ranges; beside them stand the operators of torch of all threads
    with their shapes, the stacks and lines of Python that threads stand in, and memory over time. The files are written when
    the block raises, too.

    Args:
        folder: made where it is missing; `tensorboard --logdir FOLDER` shows the traces in it.
        name: of letters, digits, - and _; the outermost range is called so.
        seconds: of each stage, and of what is in none, whose operators are recorded; inf for all of them. Each second of small
            operators is up to 20 MB. Ranges, lines and memory are of the whole time.
        memory: "process": over time, whatever takes it, and operators of all threads; "operators": each allocation of
            tensors too, and all operators, but of the calling thread only: PyTorch (2.13) has no allocations of others.
        python: "sampled": stacks as they are seen, up to a thousand times a second; "calls": each call beside them, and the
            stack of each operator for TensorBoard. Where Python calls much, half a second of calls is a million events.

    Cost: up to a tenth of the time, twice the time of small operators while they are recorded, and the writing of what was
        recorded; docs/profiling.md has the measurements.

    Raises:
        LoraPerfError: another trace or profiler of PyTorch is at work; the folder cannot be written; a name or a number that
            is none.
    """
    with _traced(Path(folder).expanduser(), name, seconds, memory, python, raised=True) as found:
        yield found


@contextmanager
def traced(folder: Path | None, name: str, tell: Callable[[str], object]) -> Iterator[None]:
    """For the `--trace DIR` of a command: a trace of the block where a folder is given, whose files are told at its end.

    Nothing is written where the block raises.
    """
    if folder is None:
        yield
        return
    with _traced(folder, name, SECONDS, "process", "sampled", raised=False) as found:
        yield
    files = [file.name for file in (found.page, found.path) if file is not None]
    tell(f"trace written to {folder}: {' (any browser), '.join(files)} (Perfetto, TensorBoard)")


@contextmanager
def _traced(folder: Path, name: str, seconds: float, memory: Memory, python: Python, *, raised: bool) -> Iterator[Trace]:
    """The trace itself; `raised` says whether it is written where the block raises."""
    _refuse(name, seconds, memory, python)
    new = not folder.exists()
    check_writable(folder)
    found, clock, done = Trace(name), Clock(), False
    with tempfile.TemporaryDirectory(prefix="lora_perf-trace-") as parts:
        operators = Operators(seconds, memory, python, Path(parts), clock, lambda: sampler.quiet())
        ranges = Ranges(clock, operators.enter)
        sampler = Sampler(ranges, clock, operators.tick)
        names = _names()
        gc.collect()  # else what the program left behind is collected in some line of the block, which does not cost that
        operators.begin()
        sampler.start()
        try:
            with recording(ranges), operators.giving_way():
                ranges.begin(name)
                try:
                    yield found
                    done = True
                finally:
                    ranges.end()
        finally:
            sampler.stop()
            operators.end()
            if done or raised:
                _fill(found, ranges, operators, sampler)
                _write(found, folder, operators, ranges, sampler, names | _names(), allocations=memory == "operators")
            elif new:
                with suppress(OSError):  # something else is in it by now
                    folder.rmdir()


def _names() -> dict[int, str]:
    """The threads of Python by the numbers of the system."""
    return {one.native_id: one.name for one in threading.enumerate() if one.native_id is not None}


def _refuse(name: str, seconds: float, memory: str, python: str) -> None:
    if not name or not all(one.isalnum() or one in _NAME_MARKS for one in name):
        raise LoraPerfError(expected="a name of letters, digits, - and _", found=repr(name), fix="choose another name")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise LoraPerfError(expected="seconds above 0", found=repr(seconds), fix="change seconds")
    if memory not in ("process", "operators"):
        raise LoraPerfError(expected="memory of process or operators", found=repr(memory), fix="choose one of these")
    if python not in ("sampled", "calls"):
        raise LoraPerfError(expected="python of sampled or calls", found=repr(python), fix="choose one of these")
    if recorder() is not None or busy():
        what = "a trace" if recorder() is not None else "a profiler of PyTorch"
        raise LoraPerfError(expected="one trace at a time", found=f"{what} that is at work", fix="end it first")


def _fill(found: Trace, ranges: Ranges, operators: Operators, sampler: Sampler) -> None:
    """What is known before the events of the profiler are read."""
    (whole,) = (one for one in ranges.found if len(one.path) == 1 and one.thread == ranges.thread)
    span = [(whole.begin, whole.end)]
    found.seconds = whole.seconds
    found.recorded = overlap(span, operators.windows) / 1e9
    found.looks, found.held = sampler.looks, sampler.held
    found.full, found.gave_way, found.thread = operators.full, operators.gave_way, ranges.thread
    found.missed = operators.missed
    found.ranges, found.windows = ranges.found, operators.windows
    found.lines = lines_of(sampler.lines)
    device = torch.cuda.get_device_name() if torch.cuda.is_initialized() else "CPU"
    found.facts = {"torch": f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}, {device}"}


def _write(
    found: Trace,
    folder: Path,
    operators: Operators,
    ranges: Ranges,
    sampler: Sampler,
    names: dict[int, str],
    *,
    allocations: bool,
) -> None:
    found.allocations = allocations
    timeline = Timeline([one for one in ranges.found if one.thread == ranges.thread])
    tally = Tally(timeline.at, ranges.thread)
    stem = f"{found.title}.{time.time_ns() // 1_000_000}"
    path, page = folder / f"{stem}.pt.trace.json", folder / f"{stem}.html"
    with replacing(path) as file:
        chrome.write(file, operators.files, ranges.found, sampler, names, tally, allocations=allocations)
    found.operators = dict(sorted(tally.operators.items(), key=lambda one: -(one[1].seconds + one[1].device)))
    found.stages = stages_of(ranges.found, operators.windows, sampler.held, tally.stages, tally.spent, sampler.waited)
    found.path, found.page = path, page
    write_together({page: page_of(found, os.path.basename(path)).encode()})
