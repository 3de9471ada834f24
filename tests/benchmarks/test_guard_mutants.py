"""Planted slowdowns as data: they apply exactly once, or say why they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.guard import mutants
from benchmarks.guard.mutants import Edit, Mutant
from lora_perf.core.errors import LoraPerfError

_WORDS = """
name = "one"
what = "Slow"
stage = "loading"
workloads = ["load_nested"]

[[edits]]
file = "lora_perf/core/zoo.py"
find = "quick"
replace = ""
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.toml").write_text(_WORDS)
    return tmp_path


def mutant(file: str, find: str, replace: str) -> Mutant:
    return Mutant("one", "Slow", "loading", ("load_nested",), (Edit(file, find, replace),))


def test_a_file_becomes_a_mutant(folder: Path) -> None:
    (found,) = mutants.load(("one",), folder)
    assert found == mutant("lora_perf/core/zoo.py", "quick", "")


def test_an_edit_replaces_its_text(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("a = quick()\nb = 1\n")
    mutant("file.py", "quick()", "slow()").apply(tmp_path)
    assert (tmp_path / "file.py").read_text() == "a = slow()\nb = 1\n"


@pytest.mark.parametrize(("text", "count"), [("nothing", 0), ("quick quick", 2)])
def test_a_text_that_does_not_stand_there_exactly_once_is_an_error(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(text)
    with pytest.raises(LoraPerfError, match=rf"mutant one: its text exactly once in file\.py; found {count} times 'quick'"):
        mutant("file.py", "quick", "slow").apply(tmp_path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"mutant one: a file of the package in every edit; found gone\.py"):
        mutant("gone.py", "quick", "slow").apply(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('what = "Slow"', "", r"missing \['what'\]"),
        ('what = "Slow"', 'what = ""', r"empty \['what'\]"),
        ('what = "Slow"', 'what = "Slow"\nwhy = "so"', r"unknown \['why'\]"),
        ('find = "quick"', "", r"missing \['find'\]"),
        ('what = "Slow"', "what =", "expected TOML in one.toml"),
        ('file = "lora_perf/core/zoo.py"', 'file = "tests/zoo.py"', "change files of lora_perf/; found 'tests/zoo.py'"),
        ('replace = ""', 'replace = "quick"', "change files of lora_perf/"),
        ('name = "one"', 'name = "two"', "expected one.toml to name 'one'; found 'two'"),
    ],
)
def test_a_file_that_is_no_mutant_is_an_error(old: str, new: str, message: str, folder: Path) -> None:
    (folder / "one.toml").write_text(_WORDS.replace(old, new))
    with pytest.raises(LoraPerfError, match=message):
        mutants.load((), folder)


def test_an_unknown_name_is_an_error(folder: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"expected mutants \(one\); found two"):
        mutants.load(("one", "two"), folder)
