"""Sums over events of a profiler, against sums over all pairs of events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.profiling.tally import Tally, nbytes_of

WORK, VIEW, CONVERT = "aten::mm", "aten::view", "aten::to"


def operator(name: str, begin: float, end: float, thread: int = 1, **told: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": "cpu_op", "name": name, "tid": thread, "ts": begin, "dur": end - begin, "args": told}


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    moment = 0

    def walk(depth: int, thread: int) -> None:
        nonlocal moment
        for _ in range(draw(st.integers(0, 3))):
            name = draw(st.sampled_from([WORK, VIEW, CONVERT, "aten::copy_"]))
            moment += draw(st.integers(1, 5))
            begin = moment
            if depth < 3:
                walk(depth + 1, thread)
            moment += draw(st.integers(1, 5))
            found.append(operator(name, begin, moment, thread))

    for thread in (1, 2):
        moment = 0
        walk(0, thread)
    return draw(st.permutations(found))


@given(trees())
def test_seconds_calls_and_launches_are_those_of_all_pairs_of_events(events: list[dict[str, Any]]) -> None:
    tally = Tally(lambda _: ("all",), thread=1)
    tally.add(events, base=0)

    def within(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
        inside = outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
        return inner is not outer and inner["tid"] == outer["tid"] and inside

    seconds, launches, main = dict.fromkeys(tally.operators, 0.0), dict.fromkeys(tally.operators, 0), 0.0
    for one in events:
        below = [other for other in events if within(other, one)]
        children = [other for other in below if not any(within(other, middle) for middle in below)]
        seconds[one["name"]] += (one["dur"] - sum(other["dur"] for other in children)) / 1e6
        launches[one["name"]] += one["name"] in (WORK, "aten::copy_") and all(other["name"] != WORK for other in children)
        main += one["dur"] * (one["tid"] == 1 and not any(within(one, other) for other in events))
    assert {name: one.seconds for name, one in tally.operators.items()} == pytest.approx(seconds)
    assert {name: one.launches for name, one in tally.operators.items()} == launches
    assert sum(one.calls for one in tally.operators.values()) == len(events) == tally.stages["all",].calls
    assert tally.spent["all",] == pytest.approx(main * 1e3)


def test_allocations_count_for_the_operator_around_them_and_kernels_for_themselves() -> None:
    memory = {"ph": "i", "name": "[memory]", "tid": 1, "args": {"Bytes": 400}}
    events = [
        operator(WORK, 0, 10),
        memory | {"ts": 4},
        memory | {"ts": 5, "args": {"Bytes": -400}},
        memory | {"ts": 20},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy", "tid": 7, "ts": 3, "dur": 5, "args": {"bytes": 12}},
    ]
    tally = Tally(lambda moment: ("early",) if moment < 15_000 else ("late",), thread=1)
    tally.add(events, base=0)
    assert tally.operators[WORK].allocated == tally.stages["early",].allocated == tally.stages["late",].allocated == 400
    copied = tally.operators["Memcpy"]
    assert (copied.launches, copied.nbytes, copied.device, copied.seconds) == (1, 12, 5e-6, 0)


@pytest.mark.parametrize(
    ("shapes", "kinds", "nbytes"),
    [
        ([[2, 3], [3]], ["double", "c10::Half"], 54),
        ([[], []], ["float", "Scalar"], 4),
        ([[[4], [5]], []], ["TensorList", ""], 0),
        ([[2, 3]], ["a type to come"], 0),
    ],
)
def test_bytes_are_those_of_the_tensors_given(shapes: list[Any], kinds: list[str], nbytes: int) -> None:
    assert nbytes_of({"Input Dims": shapes, "Input type": kinds}) == nbytes
    assert nbytes_of({}) == 0
