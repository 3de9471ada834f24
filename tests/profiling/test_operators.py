"""Windows of the profiler: when they open, close and are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lora_perf.profiling import operators
from lora_perf.profiling.operators import Operators
from lora_perf.profiling.ranges import Clock


def windows_of(folder: Path, seconds: float, quiet: Callable[[], bool] = lambda: True) -> Operators:
    one = Operators(seconds, "process", "sampled", folder, Clock(), quiet)
    one.begin()
    assert one.recording
    return one


def test_the_window_of_a_stage_closes_when_its_time_is_over_and_others_have_their_own(tmp_path: Path) -> None:
    one = windows_of(tmp_path, 0.5)
    opened = one._since
    one.tick((), opened - 900_000_000, opened + 400_000_000)  # what went by before it opened does not count
    assert one.recording
    one.tick((), opened + 400_000_000, opened + 500_000_000)
    torch.ones(3).cumprod(0)  # not recorded any more
    assert not one.recording
    one.enter(())  # its time is over
    assert not one.recording
    one.enter(("stage",))
    torch.ones(3).cumsum(0)
    one.tick(("stage",), one._since, one._since + 500_000_000)
    one.enter(("other",))
    assert one.recording
    one.end()
    one.enter(("late",))
    assert not one.recording
    assert len(one.windows) == len(one.files) == 3
    texts = [file.read_text() for file in one.files]
    assert ["aten::cumsum" in text for text in texts] == [False, True, False]
    assert not any("aten::cumprod" in text for text in texts)


def test_a_full_trace_opens_no_more_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_EVENTS", 1)
    one = windows_of(tmp_path, 0.5)
    torch.ones(3).add(1)
    one.tick((), one._since, one._since + 500_000_000)
    one.enter(("next",))
    assert (one.full, one.recording) == (True, False)
    one.end()


def test_no_window_is_taken_or_opened_while_other_threads_are_at_work(tmp_path: Path) -> None:
    at_work = [False]
    one = windows_of(tmp_path, 0.5, lambda: not at_work[0])
    at_work[0] = True
    one.tick((), one._since, one._since + 500_000_000)
    one.enter(("stage",))
    assert (one.recording, one.files, one.missed) == (False, [], 1)
    at_work[0] = False
    one.enter(("stage",))
    assert (one.recording, len(one.files)) == (True, 1)
    one.end()
