"""The diagnosis of a data set: every way to read it, timed in turn on samples beside a copy of the same bytes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.ambient import in_plain_torch
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.provenance import machine
from lora_perf.core.resources import memory_left, pressure
from lora_perf.core.settings import Progress, silent
from lora_perf.diagnose.findings import Diagnosis, Reading
from lora_perf.diagnose.subject import Subject, subject_of
from lora_perf.diagnose.timing import Timed, copy_rate, counted, in_turn, spread_over
from lora_perf.diagnose.ways import COLUMN_TENSOR, Way, column_tensor, group_rows, ways_of

if TYPE_CHECKING:
    from lora_perf.io import Source

_SHARE = 0.25  # of the memory that is left, for a sample


@in_plain_torch
def run(
    source: Source,
    *,
    label_column: str | None = "category_label",
    split: str | None = None,
    budget: float = 20.0,
    progress: Progress | None = None,
) -> Diagnosis:
    """What reading a data set costs in every way that people read it, and what to write instead.

    >>> import lora_perf
    >>> found = lora_perf.diagnose.run("digits", budget=2)
    >>> found.adapters, found.fastest.ours or found.fastest.name
    (1000, ...)

    Args:
        source: a path, the name of an embedded zoo, a Hub id, a `datasets.Dataset`, a `Zoo`.
        label_column, split: as `lora_perf.load` takes them.
        budget: seconds for all timings; samples are as large as it allows, whatever the size of the data set.
        progress: called with the name of a stage, how many ways are done, and how many there are.

    Raises:
        LoraPerfError: what `lora_perf.load` refuses; a budget that is none.
    """
    if not 0.1 <= budget <= 3600:
        raise LoraPerfError(expected="--budget of 0.1 to 3,600 seconds", found=str(budget), fix="change --budget")
    tell = progress or silent
    subject = subject_of(source, label_column, split)
    zoo, ways = subject.zoo, ways_of(subject)
    columns = spread_over(subject.columns) if subject.columns else []
    rate = copy_rate()
    timed = {way: _timed(subject, way, columns) for way in ways}
    busy = pressure(lambda: in_turn(list(timed.values()), budget))
    readings = []
    for number, (way, one) in enumerate(timed.items(), start=1):
        tell("count", number, len(timed))
        readings.append(_reading(subject, way, one, columns, rate))
    order = sorted(readings, key=lambda one: (bool(one.error), one.whole))
    about = machine(torch.device("cpu"))
    return Diagnosis(
        zoo.name,
        len(zoo),
        zoo.layout.p,
        zoo.nbytes,
        subject.storage,
        zoo.nbytes / rate,
        tuple(order),
        _advice(subject),
        f"{about['processor']}, {about['cores']} cores, torch on {about['torch_threads']} threads",
        str(busy) if busy.busy else "",
    )


def _timed(subject: Subject, way: Way, columns: Sequence[str]) -> Timed:
    n, p = len(subject.zoo), subject.zoo.layout.p
    most = max(1, min(n, way.most or n, int(_SHARE * memory_left() / ((4 if way.ours else 40) * p))))
    # A row group is decoded whole, however few of its rows are asked for.
    least = min(most, group_rows(subject.files[0])) if subject.kind == "parquet" else min(2, most)
    return Timed(lambda rows: way.call(rows, columns), most, least, name=way.name)


def _reading(subject: Subject, way: Way, one: Timed, columns: Sequence[str], rate: float) -> Reading:
    zoo = subject.zoo
    if one.error or not one.seconds:
        return Reading(way.name, way.code, way.ours, why=way.why, error=one.error or "took longer than the budget")
    found = way.call(one.rows, columns)
    values = sum(value.numel() for value in found) if not way.ours else one.rows * zoo.layout.p
    per_adapter = values / one.rows
    share = min(1.0, per_adapter / zoo.layout.p)
    equal = _equal(subject, way, found, one.rows, columns)
    del found
    seconds = statistics.median(one.seconds)
    whole = seconds / one.rows * len(zoo) / share
    calls, objects = counted(one.call, round(per_adapter), one.least, one.most)
    return Reading(
        way.name,
        way.code,
        way.ours,
        one.rows,
        share,
        tuple(one.seconds),
        whole,
        zoo.nbytes / whole / 1e9,
        whole * rate / zoo.nbytes,
        None if one.peak is None or 4 * values < 4 << 20 else one.peak / (4 * values),
        calls / share,
        objects,
        _why(way, calls / share, objects),
        equal,
    )


def _why(way: Way, calls: float, objects: float | None) -> str:
    told = f"{calls:,.0f} calls an adapter"
    if objects is not None and objects >= 8:
        told += f", {objects:.0f} bytes of objects a value of 4"
    return f"{way.why}; {told}"


def _equal(subject: Subject, way: Way, found: Sequence[Tensor], rows: int, columns: Sequence[str]) -> bool:
    """Whether a way came to the values that the data set holds: column by column, or as all values of some adapters."""
    if way.name.endswith("blocks()"):
        expected = torch.empty((rows, subject.zoo.layout.p))
        subject.zoo.source.read(0, rows, expected.numpy())
        return bool(np.isclose(sum(float(one) for one in found), float(expected.double().sum()), rtol=1e-3, atol=1e-2))
    if way.by_column and subject.data is not None:
        some = subject.data.select(range(rows))
        names = subject.columns if way.by_rows else columns
        return all(
            torch.equal(one.float().reshape(-1), column_tensor(some, name).reshape(-1))
            for one, name in zip(found, names, strict=True)
        )
    if way.expected is not None:
        pairs = zip(found, way.expected(rows, columns), strict=True)
        return all(torch.equal(one.float().reshape(-1), other.reshape(-1)) for one, other in pairs)
    expected = torch.empty((rows, subject.zoo.layout.p))
    subject.zoo.source.read(0, rows, expected.numpy())
    return torch.equal(
        *(torch.sort(each[each != 0])[0] for each in (torch.cat([one.reshape(-1) for one in found]), expected.reshape(-1)))
    )


def _advice(subject: Subject) -> str:
    lines = [
        "import lora_perf",
        "",
        f"zoo = lora_perf.load({subject.source!r})"
        if subject.data is None or subject.source != "dataset"
        else "zoo = lora_perf.load(dataset)",
        "rows = zoo.rows            # (n, p) float32, all adapters; of a packed file it is mapped, not read",
        "layer = zoo.layer(NAME)    # (n, rows, columns) of one layer, a view",
        "for at, block in zoo.blocks():  # or block by block, whatever its size",
        "    ...",
    ]
    if subject.kind == "dataset":
        lines += ["", "# without lora_perf:", "import numpy as np, pyarrow as pa, torch", *COLUMN_TENSOR.strip().splitlines()]
    return "\n".join(lines)
