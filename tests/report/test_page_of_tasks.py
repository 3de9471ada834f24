"""report.html of every kind of experiment: figures whose data are not there are left out, the others are whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import lora_perf
from lora_perf.report.findings import best_cell
from tests.experiment.test_targets import told
from tests.report.test_page_figures import whole

LEARNING, LOST, MAP, CONFUSED = "learns</h2>", "<h2>Drops from", "<h2>The adapters on a map", "confuses</h2>"
RANKS, COSTS, CLASSES, KEPT = "Nemenyi", "against what it costs", "What each class loses", "above chance on the group"
EVERYTHING = {LEARNING, LOST, MAP, CONFUSED, RANKS, COSTS, CLASSES, KEPT}
QUICK: dict[str, Any] = {"num_runs": 2, "epochs": 3, "hidden_dim": 16, "controls": [], "permutations": 0}
TWO: dict[str, Any] = {"representations": ["stats", "matrix_norms"], "layer_groups": ["all", "text"]}


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({}, set()),
        ({"classifiers": ["ridge"]}, {LEARNING}),
        ({"layer_groups": ["all"]}, {LOST, CLASSES, KEPT}),
        ({"representations": ["stats"]}, {RANKS}),
        ({"representations": ["stats"], "layer_groups": ["all"], "classifiers": ["ridge"]}, EVERYTHING - {MAP, CONFUSED}),
        ({"splits": 3}, set()),
        ({"group_column": "creator"}, set()),
        ({"target": "images"}, {CONFUSED, CLASSES}),
        ({"target": "tags"}, {CONFUSED, CLASSES}),
        ({"task": "retrieval", "classifiers": ["retrieval"]}, {CONFUSED, CLASSES, LEARNING}),
        ({"controls": ["shuffled", "halves"], "halves": 2}, set()),
    ],
    ids=lambda one: " ".join(map(str, one)) if isinstance(one, dict) else "",
)
def test_figures_without_data_are_left_out(settings: dict[str, Any], absent: set[str]) -> None:
    results = lora_perf.experiment.run(told(), **{"classifiers": ["mlp", "ridge"], **QUICK, **TWO, **settings})
    page = results.to_html()
    whole(page.partition("<script>")[0])
    assert {one for one in EVERYTHING if one not in page} == absent
    assert page.index("<h1>") < page.index("<h2>How it was made")


def test_a_page_is_the_same_from_its_folder_and_of_runs_put_together(tmp_path: Path) -> None:
    for seed in (1, 5):
        settings = {**QUICK, "representations": ["stats"], "layer_groups": ["all"], "seed": seed}
        lora_perf.experiment.run("digits", **settings, output_dir=tmp_path / str(seed))
    first, second = (lora_perf.Results.load(tmp_path / name) for name in ("1", "5"))
    assert "seed" in first.config
    shown = (tmp_path / "1" / "report.html").read_text()
    assert re.sub(r"report [\d.]+ s", "", first.to_html()) == re.sub(r"report [\d.]+ s", "", shown)
    both = lora_perf.report.compare.merged({"1": first, "5": second})
    assert [one.map for one in both.cells if one.map is not None] == [best_cell(first).map]
    assert MAP in both.to_html()
    assert "of 4 runs the loss is" in both.to_html()
