"""The audit as a function of Python, of zoos with and without labels, and what notebooks show of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.audit import GAUGES, Audit
from lora_perf.audit.__main__ import main
from tests.representations.learned.updates import planted

ASKED = ["stats", "dw_norms", "pca"]


def without_labels(zoo: Zoo) -> Zoo:
    return Zoo.from_rows(zoo.rows, zoo.layout, split=zoo.split, name=zoo.name)


def numbers(found: Audit | dict[str, Any]) -> Any:
    record = json.loads(json.dumps(found.to_json())) if isinstance(found, Audit) else found
    return {name: value for name, value in record.items() if name not in ("config", "machine", "versions")}


def test_the_function_gives_the_numbers_of_the_command_and_writes_only_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lora_perf.pack(planted(60), tmp_path / "zoo.safetensors")
    monkeypatch.chdir(tmp_path)
    found = lora_perf.audit.run("zoo.safetensors", representations=ASKED, classifiers=["ridge", "knn"])
    assert os.listdir(tmp_path) == ["zoo.safetensors"]
    assert capfd.readouterr() == ("", "")
    asked = ["--representations", *ASKED, "--classifiers", "ridge", "knn"]
    assert main(["zoo.safetensors", *asked, "--output-dir", "command"]) == 0
    assert numbers(json.loads((tmp_path / "command" / "audit.json").read_text())) == numbers(found)
    again = lora_perf.audit.run(planted(60), representations=ASKED, classifiers=["ridge", "knn"], output_dir="function")
    assert numbers(again) == numbers(found)
    for name in ("audit.md", "audit.svg"):
        assert (tmp_path / "function" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()


def test_without_labels_movements_are_the_same_and_no_accuracy_is_told(tmp_path: Path) -> None:
    zoo = planted(60)
    labelled, plain = (
        lora_perf.audit.run(one, representations=["stats", "dw_norms"], adapters="all", output_dir=tmp_path)
        for one in (zoo, without_labels(zoo))
    )
    for one, other in zip(labelled.representations, plain.representations, strict=True):
        assert {name: moved.relative for name, moved in one.movements.items()} == {
            name: moved.relative for name, moved in other.movements.items()
        }
        assert other.readings == []
    assert not plain.labelled
    assert "no labels: how far features move is told, and no accuracy" in plain._repr_html_()
    assert len(plain.to_frame()) == 2 * len(GAUGES)
    page = (tmp_path / "audit.md").read_text()
    assert "no labels" in page
    assert "What classifiers lose" not in page
    assert (tmp_path / "audit.svg").exists()


def test_an_audit_is_lines_rows_and_a_page_in_which_names_mean_nothing() -> None:
    zoo = planted(60)
    named = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, name="<script>\x1b")
    found = lora_perf.audit.run(named, representations=ASKED)
    assert repr(found).splitlines() == [
        "Gauge audit of <script>\\x1b: 13 of 60 adapters moved in 4 gauges",
        "  still (below 0.0001): dw_norms",
        "  moving: stats, pca",
    ]
    table = found.to_frame()
    assert len(table) == len(ASKED) * len(GAUGES)
    for row in table.itertuples():
        (one,) = (one for one in found.representations if one.name == row.representation)
        assert row.drop == pytest.approx(row.accuracy - row.after)
        assert row.moved_largest == one.movements[row.gauge].relative.largest
    page = found._repr_html_()
    assert "<script>" not in page
    assert "Gauge audit of &lt;script&gt;\\x1b" in page


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"adapters": "some"}, "one of test, all for adapters; found 'some'"),
        ({"representations": "statz"}, "found 'statz'; choose among these"),
        ({"classifiers": ["svm"]}, "'svm'"),
        ({"num_runs": 0}, "--num-runs of at least 1"),
        ({"layers": 3}, "a value of type str for layers; found 3"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(LoraPerfError, match=told):
        lora_perf.audit.run(planted(60), **settings)
