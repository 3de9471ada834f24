"""Summary and figures show the numbers of the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_perf.report import draw, write_summary
from lora_perf.report.cells import CellResult, RunResult
from lora_perf.report.results import Results
from lora_perf.report.summary import milliseconds, results_table, summary
from lora_perf.report.tested import HalfDrops

TRUTH = np.arange(40) % 4


def run(seed: int, right: int) -> RunResult:
    """A run whose first `right` predictions are right."""
    predictions = np.where(np.arange(40) < right, TRUTH, (TRUTH + 1) % 4).tolist()
    return RunResult(
        seed, right / 40, 0.5, 0.5, 0.5, 0.5, 3, 7, 1.0, {"validation_accuracy": [0.5]}, [[0] * 4] * 4, predictions
    )


def cell(name: str, group: str, classifier: str, *right: int, shuffled: bool = False) -> CellResult:
    """A cell whose runs have so many right predictions."""
    runs = [run(42 + k, count) for k, count in enumerate(right)]
    if classifier != "mlp":
        runs = [replace(one, seed=None, setting={"alpha": 0.1}) for one in runs]
    return CellResult(name, group, classifier, shuffled, 12, ["x"], 2.0, 0.25, "", runs)


def results(groups: list[str], cells: list[CellResult], halves: tuple[str, ...] = ()) -> Results:
    data = {"name": "toy", "adapters": 200, "layers": 4, "parameters": 80, "classes": list("abcd"), "split": "stratified"}
    data |= {"train": 140, "validation": 20, "test": 40, "resubstitution": False, "fingerprint": "f" * 32, "skipped": []}
    modules = {half: ["a"] for half in halves}
    return Results({"num_runs": 2}, data, {"python": "3"}, {"cores": 2}, {"train": 4.0}, TRUTH, cells, groups, modules)


@pytest.fixture
def two_groups() -> Results:
    return results(["all", "visual"], TWO_GROUPS)


TWO_GROUPS = [
    cell("stats", "all", "mlp", 30, 32),
    cell("stats", "visual", "mlp", 20, 21),
    cell("ensemble", "all", "mlp", 10, 12),
    cell("ensemble", "visual", "mlp", 9, 9),
]


@pytest.fixture
def everything() -> Results:
    """Two classifiers, random halves and shuffled labels."""
    probes = [cell("stats", "all", "ridge", 36), cell("stats", "visual", "ridge", 30)]
    halves = [
        cell("stats", half, name, *counts)
        for half, right in (("half0", 20), ("half1", 26))
        for name, counts in (("mlp", (right, right)), ("ridge", (right,)))
    ]
    shuffled = [cell("stats", "all", "mlp", 11, 9, shuffled=True), cell("stats", "all", "ridge", 8, shuffled=True)]
    return results(["all", "visual"], [*TWO_GROUPS, *probes, *halves, *shuffled], ("half0", "half1"))


def test_the_accuracy_is_the_mean_over_runs(two_groups: Results) -> None:
    estimate = two_groups.accuracy("stats", "all", "mlp")
    assert estimate is not None
    assert estimate.mean == pytest.approx(31 / 40)
    assert estimate.low < 31 / 40 < estimate.high


def test_the_drop_is_paired_with_the_first_group(two_groups: Results) -> None:
    drop = two_groups.drop("stats", "visual", "mlp")
    assert drop is not None
    assert drop.mean == pytest.approx(10.5 / 40)
    assert drop.p < 0.05


def test_chance_is_the_share_of_the_commonest_class(two_groups: Results) -> None:
    assert two_groups.chance == 0.25


def test_the_summary_shows_every_cell_once(two_groups: Results) -> None:
    text = summary(two_groups)
    assert text.count("| stats | ") == 2
    assert "0.775" in text
    assert "+0.263" in text
    assert "Warning" not in text


def test_files_are_written_again_without_a_difference(two_groups: Results, tmp_path: Path) -> None:
    write_summary(two_groups, tmp_path)
    draw(two_groups, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"summary.md", "accuracy.svg", "accuracy.png", "drop.svg", "drop.png"}
    write_summary(two_groups, tmp_path)
    draw(two_groups, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_the_figure_names_representations_and_groups(two_groups: Results, tmp_path: Path) -> None:
    draw(two_groups, tmp_path)
    text = (tmp_path / "accuracy.svg").read_text()
    for name in ("stats", "ensemble", "all", "visual", "commonest class"):
        assert f"<!-- {name} -->" in text


def test_a_missing_cell_leaves_a_gap(two_groups: Results, tmp_path: Path) -> None:
    partial = results(["all", "visual"], [cell("stats", "all", "mlp", 30, 32)])
    assert partial.drop("stats", "visual", "mlp") is None
    draw(partial, tmp_path)
    assert "stats" in summary(partial)


def test_the_drop_to_halves_has_a_mean_and_a_range(everything: Results) -> None:
    assert everything.drop_to_halves("stats", "ridge") == HalfDrops(pytest.approx(13 / 40), 10 / 40, 16 / 40, 2, 2)
    assert everything.drop_to_halves("ensemble", "mlp") is None


def rows_of(text: str) -> list[dict[str, str]]:
    """The table of the summary."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    titles = lines[0]
    return [dict(zip(titles, line, strict=True)) for line in lines[2:] if len(line) == len(titles)]


def test_halves_and_shuffled_cells_are_columns_of_the_summary(everything: Results) -> None:
    rows = rows_of(summary(everything))
    shown = [(row["representation"], row["group"], row["classifier"]) for row in rows]
    assert (
        shown
        == [(one.representation, one.group, one.classifier) for one in everything.cells if one.group in ("all", "visual")][:6]
    )
    ridge = {row["group"]: row for row in rows if row["classifier"] == "ridge"}
    assert ridge["visual"]["drop to halves"] == "+0.325 (+0.250 to +0.400), 2 of 2 as much"
    assert ridge["all"]["shuffled"] == "0.200"
    assert ridge["all"]["runs"] == "1"
    assert ridge["all"]["epochs or setting"] == "alpha = 0.1"
    assert ridge["all"]["ms"] == "0.25"


def test_the_summary_says_what_its_intervals_hold_for(everything: Results, two_groups: Results) -> None:
    assert "new seeds and new test adapters" in summary(everything)
    assert "of cells with a single run, for the adapters only" in summary(everything)
    assert "single run" not in summary(two_groups)


def test_the_summary_says_how_many_files_were_left_out(two_groups: Results) -> None:
    two_groups.dataset["skipped"] = [{"path": "a", "reason": "b"}, {"path": "c", "reason": "d"}]
    assert "2 adapter files left out" in summary(two_groups)


def test_figures_have_a_panel_for_each_classifier(everything: Results, tmp_path: Path) -> None:
    draw(everything, tmp_path)
    accuracy, drop = ((tmp_path / f"{name}.svg").read_text() for name in ("accuracy", "drop"))
    for name in ("mlp", "ridge"):
        assert f"<!-- {name} -->" in accuracy
        assert f"<!-- {name} -->" in drop
    assert "<!-- all, shuffled -->" in accuracy
    assert "2 random halves" in drop
    assert "<!-- half0 -->" not in accuracy


def test_the_terminal_shows_the_classifier_where_there_are_several(everything: Results, two_groups: Results) -> None:
    titles = list(results_table(everything).columns)
    assert titles[:2] == ["representation", "classifier"]
    assert {"to 2 halves", "shuffled"} <= set(titles)
    plain = list(results_table(two_groups).columns)
    assert plain == ["representation", "all", "p to best", "visual", "drop to visual", "p", "seconds"]


@pytest.mark.parametrize(("value", "shown"), [(None, ""), (123.4, "123"), (1.26, "1.3"), (0.012, "0.012"), (0.004, "<0.01")])
def test_costs_are_shown_with_the_digits_that_count(value: float | None, shown: str) -> None:
    assert milliseconds(value) == shown
