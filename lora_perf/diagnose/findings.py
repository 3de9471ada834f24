"""What a diagnosis finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lora_perf.core.showing import duration, size
from lora_perf.core.tables import Table
from lora_perf.core.text import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reading:
    """One way to read a data set.

    Attributes:
        name: what it is called in tables.
        code: the lines that do it.
        adapters, share: the sample that was read: so many adapters, and this share of each one's values.
        seconds: of the sample, a round each.
        whole: median of the seconds that the whole takes, by the sample.
        gb_per_s: bytes of weights (float32) a second.
        times_limit: how many times as long as a copy of the same bytes into fresh memory.
        peak: bytes of memory at the peak of the sample beyond what was there before, over the bytes of its weights; None where
            the system does not tell. Pages of mapped files that are touched count.
        calls: of Python and of what it calls, for an adapter.
        object_bytes: of Python objects and arrays at the peak, for a value; None where none was counted.
        why: in words.
        equal: whether it came to the values that the data set holds.
        error: what it raised, in one line; then nothing of it was measured.
    """

    name: str
    code: str
    ours: bool = False
    adapters: int = 0
    share: float = 0.0
    seconds: tuple[float, ...] = ()
    whole: float = 0.0
    gb_per_s: float = 0.0
    times_limit: float = 0.0
    peak: float | None = None
    calls: float = 0.0
    object_bytes: float | None = None
    why: str = ""
    equal: bool = True
    error: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """How a data set is stored, and what every way to read it costs.

    Attributes:
        name: of the data set.
        adapters, parameters: n and p.
        nbytes: of the weights as float32.
        storage: (what, in words) facts of its storage.
        limit: seconds of a copy of so many bytes into fresh memory.
        readings: the ways, fastest first.
        advice: lines to write instead of the slowest, which were run here.
        machine: processor, cores and threads.
        busy: whether the machine did other work meanwhile, in words; "" where it did not.
    """

    name: str
    adapters: int
    parameters: int
    nbytes: int
    storage: tuple[tuple[str, str], ...]
    limit: float
    readings: tuple[Reading, ...]
    advice: str
    machine: str
    busy: str = ""

    @property
    def fastest(self) -> Reading:
        return next(one for one in self.readings if not one.error)

    def table(self) -> Table:
        """The ways as a table of texts."""
        columns = ("way", "the whole", "GB/s", "times a copy", "peak memory", "why")
        rows = tuple((one.name, *(("fails", "", "", "", one.error) if one.error else _cells(one))) for one in self.readings)
        title = (
            f"{self.name}: {counted(self.adapters, 'adapter')}, {size(self.nbytes)} of weights; a copy {duration(self.limit)}"
        )
        return Table(title, columns, rows, columns[1:5])

    def to_frame(self) -> pd.DataFrame:
        """One row a way."""
        import pandas as pd

        return pd.DataFrame([asdict(one) | {"seconds": min(one.seconds, default=None)} for one in self.readings])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_html(self) -> str:
        """One page that needs no network."""
        from lora_perf.diagnose.page import html_page

        return html_page(self)

    def __repr__(self) -> str:
        lines = [f"Diagnosis of {self.name}: {counted(self.adapters, 'adapter')}, {size(self.nbytes)} of weights"]
        lines += [
            f"  {one.name:44} {duration(one.whole):>10}  {one.times_limit:,.1f}x a copy"
            for one in self.readings
            if not one.error
        ]
        return "\n".join(lines)


def _cells(one: Reading) -> tuple[str, str, str, str, str]:
    peak = "" if one.peak is None else f"{one.peak:.1f}x"
    wrong = "" if one.equal else "OTHER VALUES than the data set holds; "
    return duration(one.whole), f"{one.gb_per_s:.3g}", f"{one.times_limit:,.1f}x", peak, wrong + one.why
