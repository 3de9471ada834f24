"""The planted slowdowns fit today's package: each applies to it and leaves Python, and its workloads exist."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from benchmarks.corpora import ROOT
from benchmarks.guard import mutants
from benchmarks.guard.mutants import Mutant
from benchmarks.workloads import TABLE

PLANTED = mutants.load()


def named(one: Mutant) -> str:
    return one.name


def test_there_are_enough_planted_slowdowns_in_each_stage() -> None:
    stages = [one.stage for one in PLANTED]
    assert len(PLANTED) >= 60
    assert set(stages) == {workload.stage for workload in TABLE.values()}


@pytest.mark.parametrize("one", PLANTED, ids=named)
def test_a_planted_slowdown_applies_to_the_package_and_leaves_python(one: Mutant, tmp_path: Path) -> None:
    files = {edit.file for edit in one.edits}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    one.apply(tmp_path)
    for file in files:
        before, after = (ast.dump(ast.parse((root / file).read_text())) for root in (ROOT, tmp_path))
        assert before != after, f"{file} means the same as before"


@pytest.mark.parametrize("one", PLANTED, ids=named)
def test_a_planted_slowdown_names_small_workloads_of_its_stage(one: Mutant) -> None:
    for name in one.workloads:
        assert TABLE[name].stage == one.stage
        assert "small" in TABLE[name].scales


def test_no_two_planted_slowdowns_are_the_same() -> None:
    assert len({one.edits for one in PLANTED}) == len({one.what for one in PLANTED}) == len(PLANTED)


def test_every_workload_that_is_not_named_has_a_neighbour_that_is() -> None:
    """Of each file of workloads, some planted slowdown tries the guard."""
    tried = {TABLE[name].prepare.__module__ for one in PLANTED for name in one.workloads}
    assert tried == {one.prepare.__module__ for one in TABLE.values()}
