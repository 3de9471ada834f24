"""Budgets: what counts as a violation, what its message says, and how the file is written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import budgets, counters
from benchmarks.budgets import Budgets
from benchmarks.counters import __main__ as command
from benchmarks.table import Case, Workload, accept

REASON = "one call a layer"


def made(**workloads: dict[str, Any]) -> Budgets:
    shared = {
        "calls": {"reason": REASON},
        "peak": {"margin": 0.01, "slack": 10, "reason": "memory of the rows"},
        "layers": {"reason": "the size"},
        "adapters": {"reason": "the size"},
    }
    return Budgets({"versions": budgets.versions(), "counters": shared, "workloads": workloads})


LOAD = made(load={"calls": 100, "peak": 10_000, "layers": 4, "adapters": 1})
WITHIN = {"calls": 100, "peak": 10_000, "layers": 4, "adapters": 1}


def violated(**counts: int) -> list[str]:
    return [str(one) for one in LOAD.violations("load", {**WITHIN, **counts})]


def test_equal_counts_are_within_their_budgets() -> None:
    assert violated() == []


def test_a_count_above_its_budget_is_told_with_ratio_shares_and_reason() -> None:
    assert violated(calls=150) == [
        "load: calls is 150 (37.5 a layer), 1.5 times its budget of 100 (margin 0.00%); one call a layer"
    ]


def test_a_count_below_its_budget_asks_for_a_lower_budget() -> None:
    (message,) = violated(calls=99)
    assert "better than its budget: lower the budget (python -m benchmarks.counters --update load)" in message


@pytest.mark.parametrize(("found", "within"), [(10_100, True), (9_900, True), (10_101, False), (9_899, False)])
def test_a_margin_holds_both_ways(found: int, within: bool) -> None:
    assert (violated(peak=found) == []) == within


def test_slack_is_what_a_small_count_may_differ_by() -> None:
    small = made(load={"peak": 20})
    assert small.violations("load", {"peak": 30}) == []
    assert small.violations("load", {"peak": 31}) != []


def test_a_count_where_nothing_is_allowed_is_infinitely_much() -> None:
    (violation,) = made(load={"calls": 0}).violations("load", {"calls": 1})
    assert violation.ratio == float("inf")
    assert made(load={"calls": 0}).violations("load", {"calls": 0}) == []


def test_what_was_not_counted_is_a_violation() -> None:
    counts = {name: count for name, count in WITHIN.items() if name != "calls"}
    (violation,) = LOAD.violations("load", counts)
    assert str(violation) == "load: calls has a budget of 100, but was not counted"


def test_a_workload_without_budgets_violates_with_each_count() -> None:
    violations = LOAD.violations("new", {"calls": 7})
    assert [str(one) for one in violations] == ["new: calls is 7 and has no budget: python -m benchmarks.counters --update new"]


def test_a_workload_may_have_a_margin_and_a_reason_of_its_own() -> None:
    own = made(load={"calls": {"value": 100, "margin": 0.05, "reason": "it waits"}})
    assert own.violations("load", {"calls": 105}) == []
    (violation,) = own.violations("load", {"calls": 106})
    assert (violation.margin, violation.reason) == (0.05, "it waits")


def test_an_update_changes_values_and_nothing_that_was_written_by_hand() -> None:
    own = made(load={"calls": {"value": 100, "margin": 0.05, "reason": "it waits"}, "peak": 10_000}, other={"calls": 1})
    new = own.updated({"load": {"calls": 200, "peak": 10_050}, "new": {"calls": 3}})
    assert new.workloads == {
        "load": {"calls": {"value": 200, "margin": 0.05, "reason": "it waits"}, "peak": 10_000},  # this is within its margin
        "other": {"calls": 1},
        "new": {"calls": 3},
    }
    assert command.differences(own, new) == ["load: calls 100 -> 200", "new: calls 3 (new)"]
    assert command.differences(new, new.without({"other"})) == ["other: gone"]


def test_written_budgets_are_read_again(tmp_path: Path) -> None:
    LOAD.write(tmp_path / "budgets.json")
    again = budgets.load(tmp_path / "budgets.json")
    assert (again.versions, again.counters, again.workloads) == (LOAD.versions, LOAD.counters, LOAD.workloads)


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
    assert "1 workloads, 0 counts that are not within their budgets" in capsys.readouterr().out


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
