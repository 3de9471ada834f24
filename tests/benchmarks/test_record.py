"""Records: what is checked before it is timed, and what a number comes with."""

from __future__ import annotations

import subprocess

import pytest

import lora_perf
from benchmarks import corpora, record
from benchmarks.measure import Spread
from benchmarks.table import Case, Workload
from tests.benchmarks import small


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two seconds a call of each path and twice that in the second round, without a clock; notes the rounds asked for."""
    asked: list[int] = []

    def fake(calls: dict[str, object], *, rounds: int, before: object = None) -> dict[str, list[float]]:
        asked.append(rounds)
        return {name: [2.0, 4.0] for name in calls}

    monkeypatch.setattr(record.measure, "in_turn", fake)
    return asked


def enter(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    monkeypatch.setattr(record, "TABLE", {"made": Workload("made", "loading", ("small",), lambda _: case)})


@pytest.mark.parametrize("wrong", [small.case(found=2), small.case(slow=2)])
def test_a_wrong_path_is_never_timed(wrong: Case, monkeypatch: pytest.MonkeyPatch, in_turn: list[int]) -> None:
    enter(monkeypatch, wrong)
    with pytest.raises(AssertionError, match="2 instead of 1"):
        record.record("made", "small")
    assert in_turn == []


def test_the_time_of_a_share_of_the_work_is_scaled_to_the_whole(monkeypatch: pytest.MonkeyPatch, in_turn: list[int]) -> None:
    enter(monkeypatch, small.case(share=0.25))
    found = record.record("made", "small")
    assert found.fast == Spread.of([2.0, 4.0])
    assert found.baselines["torch.tensor"] == record.Timing(Spread.of([8.0, 16.0]), Spread.of([4.0, 4.0]))
    assert found.limit == record.Timing(Spread.of([2.0, 4.0]), Spread.of([1.0, 1.0]))
    assert found.gb_per_s == pytest.approx(4_000 / 3 / 1e9)


def test_fast_workloads_get_more_rounds_than_slow_ones(monkeypatch: pytest.MonkeyPatch, in_turn: list[int]) -> None:
    enter(monkeypatch, small.case())
    record.record("made", "small")
    monkeypatch.setattr(record, "_PATIENCE_SECONDS", 0.0)
    record.record("made", "small")
    assert in_turn == [7, 3]


def test_growth_is_measured_at_every_size_for_every_action() -> None:
    found = record.growth((10, 20), rounds=1)
    assert all(list(by_size) == [10, 20] for by_size in found.values())
    assert len(found) == 3
    assert all(spread.median > 0 for by_size in found.values() for spread in by_size.values())
    assert len(lora_perf.load(corpora.path("packed", 20))) == 20


def test_circumstances_name_the_commit_and_count_the_changed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "abc\n", "status": " M one\n M two\n"}
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=answers[command[1]])
    )
    found = record.circumstances()
    assert (found["commit"], found["changed_files"]) == ("abc", 2)
    assert {"torch", "numpy", "datasets", "python"} <= set(found["versions"])
    assert found["machine"]["torch_threads"] >= 1
