"""Planted slowdowns as data: each fits the package of today, and one that does not is told apart. `pytest -m long` alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.corpora import ROOT
from benchmarks.proof import __main__ as command
from benchmarks.proof import planting
from benchmarks.workloads import TABLE

pytestmark = pytest.mark.long


def test_every_planted_slowdown_fits_and_every_file_of_workloads_has_one() -> None:
    planted = planting.load()
    assert [text for one in planted for text in planting.misfits(one, ROOT, TABLE)] == []
    tried = {TABLE[name].prepare.__module__ for one in planted for name in one.workloads}
    assert tried == {one.prepare.__module__ for one in TABLE.values()}
    assert len({one.edits for one in planted}) == len(planted) >= 60


def test_the_command_says_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--fit", "rows_cloned"]) == 0
    assert "1 planted slowdowns, 0 faults" in capsys.readouterr().out


def test_a_name_that_has_moved_away_is_a_fault() -> None:
    one = planting.load(("tensor_of_lists",))[0]
    assert planting.misfits(one, ROOT, TABLE) == []
    without = replace(one, edits=one.edits[:1])
    assert planting.misfits(without, ROOT, TABLE) == ["mutant tensor_of_lists: lora_perf/io/tables/arrow.py has no torch"]
