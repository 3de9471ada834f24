"""Planted slowdowns as data: each fits the package of today, and one that does not is told apart. `pytest -m long` alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.corpora import ROOT
from benchmarks.proof import __main__ as command
from benchmarks.proof import planting
from benchmarks.proof.planting import Edit, Mutant
from benchmarks.workloads import TABLE
from lora_perf import LoraPerfError

pytestmark = pytest.mark.long

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


def test_every_planted_slowdown_fits_and_every_file_of_workloads_has_one() -> None:
    planted = planting.load()
    assert [text for one in planted for text in planting.misfits(one, ROOT, TABLE)] == []
    tried = {TABLE[name].prepare.__module__ for one in planted for name in one.workloads}
    assert tried == {one.prepare.__module__ for one in TABLE.values()}
    assert len({one.edits for one in planted}) == len(planted) >= 60


@pytest.mark.parametrize(
    ("file", "text", "replace", "message"),
    [
        ("file.py", "nothing()", "slow", "its text exactly once in file.py; found 0 times 'quick'"),
        ("file.py", "quick; quick", "slow", "its text exactly once in file.py; found 2 times 'quick'"),
        ("gone.py", "", "slow", "a file of the package in every edit; found gone.py"),
        ("file.py", "quick", "quick  # as before", "file.py means the same as before"),
        ("file.py", "quick", "qu ick", "invalid syntax"),
    ],
)
def test_a_slowdown_that_does_not_fit_is_told(file: str, text: str, replace: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(text)
    one = Mutant("one", "Slow", "loading", ("load_nested",), (Edit(file, "quick", replace),))
    (found,) = planting.misfits(one, tmp_path, TABLE)
    assert message in found
    (moved,) = planting.misfits(Mutant("one", "Slow", "packing", ("load_nested",), ()), tmp_path, TABLE)
    assert moved == "mutant one: load_nested is no workload of stage packing"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('what = "Slow"', 'what = ""\nwhy = "so"', r"missing \[\], unknown \['why'\], empty \['what'\]"),
        ('what = "Slow"', "what =", "expected TOML in one.toml"),
        ('file = "lora_perf/core/zoo.py"', 'file = "tests/zoo.py"', "change files of lora_perf/; found 'tests/zoo.py'"),
        ('replace = ""', 'replace = "quick"', "change files of lora_perf/"),
        ('name = "one"', 'name = "two"', "expected one.toml to name 'one'; found 'two'"),
        ("", "", r"expected mutants \(one\); found two"),
    ],
)
def test_a_file_that_is_no_slowdown_is_an_error(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(_WORDS.replace(old, new) if old else _WORDS)
    with pytest.raises(LoraPerfError, match=message):
        planting.load(() if old else ("two",), tmp_path)


def test_the_command_says_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--fit", "rows_cloned"]) == 0
    assert "1 planted slowdowns, 0 faults" in capsys.readouterr().out
