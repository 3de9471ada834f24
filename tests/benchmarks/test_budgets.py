"""Budgets: what counts as a violation and as a gain, and how the file is written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import budgets, counters
from benchmarks.budgets import Budgets
from benchmarks.counters import __main__ as command
from benchmarks.table import Case, Workload, accept

REASON = "one call a layer"
COUNTERS = {
    "calls": {"reason": REASON},
    "peak": {"margin": 0.01, "slack": 10, "reason": "memory of the rows"},
    "copies": {"reason": "none is needed"},
}


def made(**workloads: dict[str, Any]) -> Budgets:
    return Budgets({"versions": budgets.versions(), "counters": COUNTERS, "workloads": workloads})


LOAD = made(load={"calls": 100, "peak": 10_000})


@pytest.mark.parametrize(
    ("counts", "above", "below"),
    [
        ({"calls": 100, "peak": 10_000, "copies": 0}, [], []),
        ({"calls": 101}, ["calls"], []),
        ({"calls": 99}, [], ["calls"]),
        ({"peak": 10_100}, [], []),
        ({"peak": 10_101}, ["peak"], []),
        ({"peak": 9_900}, [], []),
        ({"peak": 9_899}, [], ["peak"]),
        ({"copies": 1}, ["copies"], []),
    ],
)
def test_only_what_is_above_its_budget_is_a_violation(counts: dict[str, int], above: list[str], below: list[str]) -> None:
    assert [one.counter for one in LOAD.violations("load", counts)] == above
    assert LOAD.gains("load", counts) == below


def test_slack_is_what_a_small_count_may_grow_by() -> None:
    small = made(load={"peak": 20, "calls": {"value": 20, "slack": 5, "reason": "of its own"}})
    assert small.violations("load", {"peak": 30, "calls": 25}) == []
    assert [one.counter for one in small.violations("load", {"peak": 31, "calls": 26})] == ["peak", "calls"]


def test_a_violation_says_what_was_found_allowed_and_why() -> None:
    assert [str(one) for one in LOAD.violations("load", {"peak": 11_000})] == [
        "load: peak is 11,000, above its budget of 10,000 (at most 10,100); memory of the rows"
    ]
    assert [str(one) for one in LOAD.violations("new", {"calls": 1, "peak": 2})] == [
        "new has no budgets: python -m benchmarks.counters new --update"
    ]


def test_an_update_lowers_gains_raises_losses_and_keeps_the_rest(tmp_path: Path) -> None:
    own = {"value": 7, "margin": 0.5, "reason": "of its own"}
    old = made(load={"calls": own, "peak": 10_000}, other={"calls": 1})
    new = old.updated({"load": {"calls": 20, "peak": 10_050, "copies": 0}, "new": {"calls": 3, "peak": 0}})
    assert new.workloads == {
        "load": {"calls": {**own, "value": 20}, "peak": 10_000},
        "new": {"calls": 3},
        "other": {"calls": 1},
    }
    lower = new.updated({"load": {"calls": 9, "peak": 9_990}})
    assert lower.workloads["load"] == {"calls": {**own, "value": 9}, "peak": 10_000}
    new.without({"other"}).write(tmp_path / "budgets.json")
    again = budgets.load(tmp_path / "budgets.json")
    assert (again.versions, again.counters, list(again.workloads)) == (new.versions, new.counters, ["load", "new"])


def test_other_versions_are_named() -> None:
    assert LOAD.other_versions() == []
    other = Budgets({"versions": {"torch": "1.0"}, "counters": {}, "workloads": {}})
    assert other.other_versions() == [f"torch {budgets.versions()['torch']} instead of 1.0"]


# The command


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A table of a right and a wrong workload, and no budgets yet; returns the file of budgets."""

    def refuse(_: Any) -> None:
        raise AssertionError("a wrong result")

    table = {
        "right": Workload("right", "loading", ("small",), lambda _: Case(lambda: None, accept, 1)),
        "wrong": Workload("wrong", "loading", ("small",), lambda _: Case(lambda: None, refuse, 1)),
    }
    file = tmp_path / "budgets.json"
    reasons = {name: {"reason": REASON} for name in counters.MEANING}
    empty = Budgets({"versions": budgets.versions(), "counters": reasons, "workloads": {"old": {"calls": 1}}})
    empty.write(file)
    load, write = budgets.load, Budgets.write
    monkeypatch.setattr(budgets, "load", lambda: load(file))
    monkeypatch.setattr(Budgets, "write", lambda self: write(self, file))
    monkeypatch.setattr(command, "TABLE", table)
    return file


@pytest.mark.usefixtures("small_table")
def test_the_command_updates_then_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["right"]) == 1
    assert command.main(["right", "--update"]) == 0
    assert "old: gone" in capsys.readouterr().out
    assert command.main(["right"]) == 0
    assert "1 workloads, 0 counts above their budgets" in capsys.readouterr().out


@pytest.mark.usefixtures("small_table")
def test_a_wrong_result_is_told_and_never_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["--update", "--output", str(tmp_path / "counts.json")]) == 1
    printed = capsys.readouterr()
    assert "wrong was not counted" in printed.err
    assert "a wrong result" in printed.err
    assert list(budgets.load().workloads) == ["right"]
    assert '"wrong"' not in (tmp_path / "counts.json").read_text()


def test_an_unknown_workload_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["load_nothing"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "load_nothing" in error


@pytest.mark.usefixtures("small_table")
def test_some_budgets_alone_are_not_taken_with_other_versions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "versions", lambda: {"python": "2.7"})
    assert command.main(["right", "--update"]) == 2
    assert (
        "expected the versions with which the other budgets were taken; found python 2.7 instead of" in capsys.readouterr().err
    )
