"""The speed budget: every promise of the design as a measurement that is kept or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import corpora, measure
from benchmarks.measure import Spread
from benchmarks.workloads import TABLE, Case

_ROUNDS = 7


@dataclass(frozen=True)
class Promise:
    """One line of the budget.

    Attributes:
        text: what is promised.
        at_most: whether the measurement may be at most the bound; else it must be at least that.
        bound: of the promise, in the unit of the measurement.
        measured: median, quartiles and rounds.
        unit: of both.
    """

    text: str
    at_most: bool
    bound: float
    measured: Spread
    unit: str

    @property
    def kept(self) -> bool:
        return self.measured.median <= self.bound if self.at_most else self.measured.median >= self.bound


def budget(scale: str, say: Callable[[str], None] = lambda text: None) -> Iterator[Promise]:
    """Measures every promise that this machine can; ratios are of calls timed in turn."""
    say("streaming")
    yield _over_limit("streaming nested lists by zoo.blocks(), over a copy of the same blocks", "stream_nested", scale, 1.3)
    say("rows")
    yield _over_limit("zoo.rows of nested lists, over a copy into fresh memory", "load_nested", scale, 1.5)
    for workload, baseline, bound in (
        ("load_nested", "published_fix", 1000),
        ("load_nested", "bug", 150),
        ("load_array2d", "published_fix", 40),
        ("load_array2d", "bug", 150),
    ):
        form = "nested lists" if workload == "load_nested" else "Array2D"
        slow = "with_format('torch')" if baseline == "published_fix" else "torch.tensor(column)"
        yield _speed_up(f"zoo.rows of {form}, faster than {slow}", workload, baseline, scale, bound)
    say("opening")
    for size in (scale, "large"):
        case = TABLE["open_packed_warm"].prepare(size)
        case.checked()
        times = measure.in_turn({"open": case.call}, rounds=20)["open"]
        text = f"opening a packed zoo of {corpora.SCALES[size]:,} adapters"
        yield Promise(text, True, 20, Spread.of([1000 * one for one in times]), "ms")
    say("representations")
    yield _speed_up("all ten representations in one pass, faster than the loops", "represent_all", "loop", scale, 50)
    say("training")
    yield _speed_up("an epoch of ten runs, faster than DataLoader + Adam per seed", "train_ten_runs", "loop", scale, 4)
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


def _speed_up(text: str, name: str, baseline: str, scale: str, bound: float) -> Promise:
    case = _checked(name, scale)
    slow = case.baselines[baseline]
    slow.check(slow.call())
    times = measure.in_turn({"call": case.call, "slow": slow.call}, rounds=_ROUNDS)
    pairs = [b / slow.share / a for a, b in zip(times["call"], times["slow"], strict=True)]
    return Promise(text, False, bound, Spread.of(pairs), "x")


def _checked(name: str, scale: str) -> Case:
    case = TABLE[name].prepare(scale)
    case.checked()
    return case
