"""Summary and figures show the numbers of the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lora_perf.experiment.cells import CellResult, RunResult
from lora_perf.experiment.results import Results
from lora_perf.report import draw, write_summary
from lora_perf.report.summary import summary

TRUTH = np.arange(40) % 4


def run(seed: int, right: int) -> RunResult:
    """A run whose first `right` predictions are right."""
    predictions = np.where(np.arange(40) < right, TRUTH, (TRUTH + 1) % 4).tolist()
    return RunResult(
        seed, right / 40, 0.5, 0.5, 0.5, 0.5, 3, 7, 1.0, {"validation_accuracy": [0.5]}, [[0] * 4] * 4, predictions
    )


def results(groups: list[str], right: dict[tuple[str, str], tuple[int, int]]) -> Results:
    cells = [
        CellResult(name, group, 12, ["x"], 2.0, [run(42, counts[0]), run(43, counts[1])])
        for (name, group), counts in right.items()
    ]
    data = {"name": "toy", "adapters": 200, "layers": 4, "parameters": 80, "classes": list("abcd"), "split": "stratified"}
    data |= {"train": 140, "validation": 20, "test": 40, "resubstitution": False, "fingerprint": "f" * 32}
    return Results({"num_runs": 2}, data, {"python": "3"}, {"cores": 2}, {"train": 4.0}, TRUTH, cells, groups)


@pytest.fixture
def two_groups() -> Results:
    counts = {
        ("stats", "all"): (30, 32),
        ("stats", "visual"): (20, 21),
        ("ensemble", "all"): (10, 12),
        ("ensemble", "visual"): (9, 9),
    }
    return results(["all", "visual"], counts)


def test_the_accuracy_is_the_mean_over_runs(two_groups: Results) -> None:
    estimate = two_groups.accuracy("stats", "all")
    assert estimate is not None
    assert estimate.mean == pytest.approx(31 / 40)
    assert estimate.low < 31 / 40 < estimate.high


def test_the_drop_is_paired_with_the_first_group(two_groups: Results) -> None:
    drop = two_groups.drop("stats", "visual")
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
    partial = results(["all", "visual"], {("stats", "all"): (30, 32)})
    assert partial.drop("stats", "visual") is None
    draw(partial, tmp_path)
    assert "stats" in summary(partial)
