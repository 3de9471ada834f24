"""The promises of speed that the design makes, each as a measurement that is kept or not: ratios of clocks, on demand.

Bounds that differ by the kind of processor say so: an AMD EPYC copies rows side by side twice as fast as an Intel machine,
and strided ones no faster (reports/2026-11-26-loading).

What every change may cost in calls, copies and bytes is another matter: `budgets.json`, which `pytest` compares.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from benchmarks import corpora, measure, surface
from benchmarks.measure import Spread
from benchmarks.workloads import TABLE, Case

_ROUNDS = 7
_COPY = "copying the same bytes"
_TRIED = (
    "Tried: stacks of 2, 3, 5 and 10 runs on one thread and on two; activations with features first; dropout masks by "
    "Bernoulli draws and by comparison; several layouts of the parameters. One run a core, its parameters in one row and its "
    "masks from random bytes, was fastest. What is left beside the products and Adam is dropout, batch norm and the caches."
)


@dataclass(frozen=True)
class Promise:
    """One promise of speed.

    Attributes:
        text: what is promised.
        at_most: whether the measurement may be at most the bound; else it must be at least that.
        bound: of the promise, in the unit of the measurement.
        measured: median, quartiles and rounds.
        unit: of both.
        allowed: what the same measurement would be if the path took no longer than the limit, or None.
        limit: the least that the hardware has to do, in words.
        tried: what was tried, in words; said where the promise is not kept.
    """

    text: str
    at_most: bool
    bound: float
    measured: Spread
    unit: str
    allowed: Spread | None = None
    limit: str = ""
    tried: str = ""

    @property
    def kept(self) -> bool:
        return self.measured.median <= self.bound if self.at_most else self.measured.median >= self.bound

    @property
    def explanation(self) -> str:
        """Why the promise is not kept, as far as it is known: the limit measured in the same rounds, and what was tried."""
        if self.kept:
            return ""
        words = [f"{self.text}: {self.measured.text()} {self.unit}, promised {self.bound_text}."]
        if self.allowed is not None:
            words.append(f"{self.limit[:1].upper()}{self.limit[1:]} alone would allow {self.allowed.text()} {self.unit}.")
        return " ".join([*words, self.tried]).strip()

    @property
    def bound_text(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.bound:,g} {self.unit}"


def measured(scale: str, say: Callable[[str], None] = lambda text: None) -> Iterator[Promise]:
    """Measures every promise that this machine can; ratios are of calls timed in turn."""
    amd = "AMD" in surface.machine(torch.device("cpu"))["processor"]
    where = " on AMD" if amd else " on Intel"
    say("streaming")
    text = f"streaming nested lists by zoo.blocks(), over a copy of the same blocks{where}"
    yield _over_limit(text, "stream_nested", scale, 2.6 if amd else 1.3)
    say("rows")
    yield _over_limit(
        f"zoo.rows of nested lists, over a copy into fresh memory{where}", "load_nested", scale, 1.9 if amd else 1.5
    )
    for workload, baseline, bound in (
        ("load_nested", "with_format-torch", 500 if amd else 1000),
        ("load_nested", "torch.tensor", 100 if amd else 150),
        ("load_array2d", "with_format-torch", 40),
        ("load_array2d", "torch.tensor", 100 if amd else 150),
    ):
        form = "nested lists" if workload == "load_nested" else "Array2D"
        slow = "with_format('torch')" if baseline == "with_format-torch" else "torch.tensor(column)"
        yield _speed_up(f"zoo.rows of {form}, faster than {slow}{where}", workload, baseline, scale, bound, _COPY)
    say("folders")
    text = "1,000 adapter files to rows" if scale == "medium" else "adapter files to rows"
    yield _over_limit(f"{text}, over a copy into fresh memory", "load_folder", scale, 3)
    yield _speed_up(f"{text}, faster than safe_open tensor by tensor", "load_folder", "safe_open", scale, 30, _COPY)
    say("opening")
    for size in (scale, "large"):
        case = TABLE["open_packed_warm"].prepare(size)
        case.checked()
        times = measure.in_turn({"open": case.call}, rounds=20)["open"]
        text = f"opening a packed zoo of {corpora.SCALES[size]:,} adapters"
        yield Promise(text, True, 20, Spread.of([1000 * one for one in times]), "ms")
    say("representations")
    yield _speed_up(
        "all ten representations in one pass, faster than the loops", "represent_all", "NumPy-loop", scale, 50, _COPY
    )
    text = "dw_spectrum of updates of 1280 x 768 and rank 16, faster than svd_lowrank of the product"
    yield _speed_up(text, "dw_spectrum_rank16", "svd_lowrank", scale, 20)
    say("training")
    text = "an epoch of ten runs, faster than DataLoader + Adam per seed"
    yield _speed_up(
        text + where, "train_ten_runs", "DataLoader", scale, 3 if amd else 4, "the matrix products and Adam", _TRIED
    )
    say("memory")
    nbytes = TABLE["load_nested"].prepare(scale).nbytes
    peaks = [measure.peak_nbytes("load_nested", scale) / nbytes for _ in range(3)]
    yield Promise("peak memory of zoo.rows, over the bytes of the rows", True, 1.15, Spread.of(peaks), "x")
    text = f"peak memory of a streamed pass over {corpora.SCALES['large']:,} adapters"
    yield Promise(text, True, 1.5, Spread.of([measure.peak_nbytes("represent_streamed", "large") / 1e9]), "GB")
    say("linearity")
    yield _linear()


def _linear() -> Promise:
    calls = {scale: _checked("represent_streamed", scale).call for scale in ("medium", "large")}
    times = measure.in_turn(calls, rounds=3)
    text = "time of a streamed pass at 10,000 adapters, over that at 1,000"
    return Promise(text, True, 10.5, measure.ratios(times, "large", "medium"), "x")


def _over_limit(text: str, name: str, scale: str, bound: float) -> Promise:
    case = _checked(name, scale)
    assert case.limit is not None
    times = measure.in_turn({"call": case.call, "limit": case.limit}, rounds=2 * _ROUNDS)
    return Promise(text, True, bound, measure.ratios(times, "call", "limit"), "x")


def _speed_up(text: str, name: str, baseline: str, scale: str, bound: float, limit: str = "", tried: str = "") -> Promise:
    """How many times faster than a baseline, and how many times the limit would be, in the same rounds.

    The call is timed on both sides of the slow one and of the limit, and the median of a round counts: machines hand out
    fresh memory unevenly, so that a single short call says less than the long one beside it.
    """
    case = _checked(name, scale)
    slow = case.baselines[baseline]
    slow.check(slow.call())
    calls = {"before": case.call, "slow": slow.call, "between": case.call}
    if case.limit is not None:
        calls |= {"limit": case.limit, "after": case.call}
    times = measure.in_turn(calls, rounds=_ROUNDS)
    fast = [statistics.median(each) for each in zip(*(times[one] for one in calls if calls[one] is case.call), strict=True)]

    def over(seconds: list[float]) -> Spread:
        return Spread.of([b / slow.share / a for a, b in zip(seconds, times["slow"], strict=True)])

    allowed = over(times["limit"]) if limit and case.limit is not None else None
    return Promise(text, False, bound, over(fast), "x", allowed, limit, tried)


def _checked(name: str, scale: str) -> Case:
    case = TABLE[name].prepare(scale)
    case.checked()
    return case
