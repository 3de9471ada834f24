"""Ranges: paths of nested stages, which path a moment belongs to, shares of windows."""

from __future__ import annotations

import threading
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.profiling import recording, stage
from lora_perf.profiling.ranges import OWN, Clock, Path, Range, Ranges, Timeline, overlap


@st.composite
def nested(draw: st.DrawFn) -> list[Range]:
    """Ranges of one thread, each within the one that holds it, at distinct moments."""
    found: list[Range] = []
    moment = 0

    def walk(path: Path, depth: int) -> None:
        nonlocal moment
        for turn in range(draw(st.integers(0, 3 if depth else 1))):
            moment += draw(st.integers(1, 5))
            begin, own = moment, (*path, f"{turn}")
            if depth < 4:
                walk(own, depth + 1)
            moment += draw(st.integers(1, 5))
            found.append(Range(own, 1, begin, moment))

    walk((), 0)
    return found


@given(nested())
def test_a_moment_belongs_to_the_innermost_range_around_it(ranges: list[Range]) -> None:
    timeline = Timeline(ranges)
    for moment in range(max((one.end for one in ranges), default=0) + 3):
        around = [one.path for one in ranges if one.begin <= moment < one.end]
        assert timeline.at(moment) == max(around, key=len, default=())


@given(st.lists(st.integers(0, 60), max_size=12), st.lists(st.integers(0, 60), max_size=12))
def test_what_spans_share_with_windows_is_counted_moment_by_moment(first: list[int], second: list[int]) -> None:
    spans, windows = (list(pairwise(sorted(one)))[::2] for one in (first, second))

    def moments(of: list[tuple[int, int]]) -> set[int]:
        return {moment for begin, end in of for moment in range(begin, end)}

    assert overlap(spans, windows) == len(moments(spans) & moments(windows))


def test_stages_of_each_thread_have_paths_of_their_own_and_those_of_the_first_are_told() -> None:
    entered: list[Path] = []
    ranges = Ranges(Clock(), entered.append)

    def work() -> None:
        with stage("aside"):
            pass

    with recording(ranges), stage("outer"):
        other = threading.Thread(target=work)
        other.start()
        other.join()
        with stage("inner"):
            assert ranges.current == ("outer", "inner")
        assert ranges.current == ("outer",)
    assert entered == [("outer",), ("outer", "inner")]
    assert [one.path for one in ranges.found] == [("aside",), ("outer", "inner"), ("outer",)]
    assert [one.thread == ranges.thread for one in ranges.found] == [False, True, True]
    inner, outer = ranges.found[1:]
    assert outer.begin <= inner.begin <= inner.end <= outer.end


def test_a_stage_that_raises_ends_and_one_that_began_before_the_trace_is_left_out() -> None:
    ranges = Ranges(Clock(), lambda _: None)
    late = stage("early")
    late.__enter__()
    with recording(ranges):
        late.__exit__(None, None, None)
        try:
            with stage("broken"):
                raise ValueError
        except ValueError:
            pass
    assert [one.path for one in ranges.found] == [("broken",)]
    assert ranges.current == ()


def test_what_it_takes_to_hear_of_a_stage_is_a_stage_of_the_trace_itself() -> None:
    class Slow(Clock):
        moment = 0

        def now(self) -> int:
            self.moment += 1_000
            return self.moment

    clock = Slow()

    def entered(path: Path) -> None:
        clock.moment += 5_000_000 * (path == ("outer", "inner"))

    ranges = Ranges(clock, entered)
    with recording(ranges), stage("outer"), stage("inner"):
        pass
    own, inner, outer = ranges.found
    assert (own.path, inner.path, outer.path) == (("outer", OWN), ("outer", "inner"), ("outer",))
    assert own.seconds == 0.005001
    assert own.end < inner.begin
    assert outer.begin < own.begin
