"""Blocks that are read by one thread and by several in turn: the same rows, and the faster way for the rest."""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core import rows as module
from lora_perf.core.rows import FloatRows, InTurn, blocks_of
from tests.core.test_rows import Divisible


class Clock:
    """A clock that only ways to read move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[int] = []

    def way(self, number: int, seconds: float, *first: float) -> module.Read:
        """A way whose rows take so long, those of its first calls as said."""
        takes = chain(first, repeat(seconds))

        def read(start: int, stop: int, out: FloatRows) -> None:
            self.now += (stop - start) * next(takes)
            self.calls.append(number)
            out[:] = start

        return read

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.mark.parametrize(("seconds", "fastest"), [((1.0, 2.0), 0), ((2.0, 1.0), 1), ((3.0, 2.0, 1.0), 2), ((1.0,), 0)])
def test_the_fastest_way_reads_the_rest(clock: Clock, seconds: tuple[float, ...], fastest: int) -> None:
    read = InTurn([clock.way(number, each) for number, each in enumerate(seconds)])
    out = np.empty((9, 1), np.float32)
    for turn in range(20):
        size = 1 + turn % 9
        read(turn, turn + size, out[:size])
        assert bool((out[:size] == turn).all())
    trials = 2 * len(seconds) + 1
    assert clock.calls[:trials] == [turn % len(seconds) for turn in range(trials)]
    assert set(clock.calls[trials:]) == {fastest}


@pytest.mark.parametrize(
    "first", [(1e9,), (0.0,), (1.0, 50.0), (1.0, 1.0, 50.0)], ids=["new memory", "no time", "a pause", "another"]
)
def test_what_one_call_waits_for_decides_nothing(clock: Clock, first: tuple[float, ...]) -> None:
    read, out = InTurn([clock.way(0, 1.0, *first), clock.way(1, 2.0)]), np.empty((1, 1), np.float32)
    for _ in range(9):
        read(0, 1, out)
        clock.now += 100.0  # between two calls nothing is measured
    assert clock.calls == [0, 1, 0, 1, 0, *[0] * 4]


@given(n=st.integers(0, 40), step=st.integers(1, 7))
def test_blocks_are_the_rows_of_their_source_in_order(n: int, step: int) -> None:
    rows = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    found = [(places, block.copy()) for places, block in blocks_of(Divisible(rows), step)]
    assert [(places.start, places.stop) for places, _ in found] == [(i, min(i + step, n)) for i in range(0, n, step)]
    assert np.array_equal(np.concatenate([np.empty((0, 3), np.float32), *(block for _, block in found)]), rows)
