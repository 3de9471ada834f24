"""Experiments on columns of metadata, with groups and repeated splits: from the command to the page and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import r2_score

import lora_perf
from lora_perf import Zoo
from lora_perf.classifiers.metrics import accuracy
from lora_perf.experiment.__main__ import main
from lora_perf.io import store
from lora_perf.report.parts import ranking
from tests.experiment.conftest import small_zoo

N = 200


def told() -> Zoo:
    """The small zoo, whose scale grows with the number of images; creators have ten adapters each."""
    plain = small_zoo(n=N)
    images = (torch.arange(N) * 37 % 101).tolist()
    rows = plain.rows * (1 + torch.tensor(images)[:, None] / 20)
    rows[7] = rows[100]
    metadata = {
        "images": images,
        "creator": [f"c{k // 10}" for k in range(N)],
        "tags": [["many"] * (count > 50) + ["odd"] * (count % 2) for count in images],
        "steps": [None if k == 3 else k % 2 * 100 for k in range(N)],
        "one": ["same"] * N,
        "team": [f"t{k % 11}" for k in range(N)],
    }
    return Zoo.from_rows(rows, plain.layout, plain.labels, plain.classes, name="told", metadata=metadata)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told().save(tmp_path_factory.mktemp("told") / "told.safetensors")


@pytest.fixture
def asked(path: Path, tmp_path: Path) -> Callable[..., lora_perf.Results]:
    """The results of a command on the zoo, read back."""

    def run(*arguments: str) -> lora_perf.Results:
        common = ["--dataset", str(path), "--num-runs", "2", "--epochs", "30", "--representations", "matrix_norms", "stats"]
        settings = ["--hidden-dim", "32", "--layer-groups", "all", "--output-dir", str(tmp_path / "out")]
        assert main([*common, *settings, "--classifiers", "mlp", "ridge", *arguments]) == 0
        return lora_perf.Results.load(tmp_path / "out")

    return run


Asked = Callable[..., lora_perf.Results]


def test_numbers_are_learned_with_their_interval_and_baseline(asked: Asked, tmp_path: Path) -> None:
    found = asked("--target", "images")
    assert (found.task, found.measure, found.dataset["classes"]) == ("numbers", "R2", [])
    one = found.accuracy("matrix_norms", "all", "ridge")
    cell = found.cell("matrix_norms", "all", "ridge")
    assert one is not None
    assert cell is not None
    assert one.mean == pytest.approx(r2_score(found.truth, cell.runs[0].predictions))
    assert 0.1 < one.low < one.mean < one.high
    assert abs(found.chance) < 0.1
    assert found.measures("matrix_norms", "all", "mlp").keys() == {"spearman", "mae"}
    assert found.truth.tolist() == [told().metadata["images"][row] for row in found.rows]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "R2 of always naming the mean" in page
    assert "R2" in (tmp_path / "out" / "summary.md").read_text()
    frame = found.to_frame("predictions")
    assert frame["prediction"].dtype == frame["truth"].dtype == np.float64


def test_several_labels_are_learned(asked: Asked, tmp_path: Path) -> None:
    found = asked("--target", "tags")
    assert (found.task, found.dataset["classes"]) == ("several", ["many", "odd"])
    cell = found.cell("matrix_norms", "all", "mlp")
    assert cell is not None
    assert cell.runs[0].measures["auc of many"] > 0.8 > 0.7 > cell.runs[0].measures["auc of odd"]
    assert "area under the ROC curve" in (tmp_path / "out" / "report.html").read_text()
    assert set(found.to_frame("predictions")["prediction"]) <= {"many", "odd"}


def test_adapters_of_a_class_are_found_again(path: Path, tmp_path: Path) -> None:
    results = lora_perf.experiment.run(
        path, representations=["stats"], layer_groups=["all"], task="retrieval", output_dir=tmp_path / "out"
    )
    assert (results.task, results.classifiers) == ("retrieval", ["retrieval"])
    assert set(results.measures("stats", "all", "retrieval")) == {"recall at 1", "recall at 5", "recall at 10"}
    again, first = lora_perf.Results.load(tmp_path / "out").to_json(), results.to_json()
    assert again | {"seconds": {}} == first | {"seconds": {}}


def test_groups_stand_on_one_side_and_intervals_count_them(asked: Asked, tmp_path: Path) -> None:
    found = asked("--group-column", "creator")
    assert found.dataset["split"] == "grouped"
    creators = np.array(told().metadata["creator"])
    tested = set(creators[list(found.rows)])
    first, random = found.tested[""], found.tested["random"]
    assert first.clusters is not None
    assert random.clusters is None
    assert len(np.unique(first.clusters)) == len(tested)
    assert len(found.rows) == sum(creators[k] in tested for k in range(N))  # none of a tested creator is learned from
    one = found.accuracy("stats", "all", "mlp")
    cell = found.cell("stats", "all", "mlp")
    assert cell is not None
    assert one == accuracy(cell.gains(found.asked(found.truth)), first.clusters)
    at_random = found.at_random("stats", "all", "mlp")
    other = found.cell("stats", "all", "mlp", division="random")
    assert other is not None
    assert at_random == accuracy(other.gains(found.asked(random.truth)))
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "No creator (20 of them) is both learned from and tested" in text
    assert "What a random split would have said" in (tmp_path / "out" / "report.html").read_text()


def test_repeated_splits_are_corrected_as_nadeau_and_bengio_have_it(asked: Asked) -> None:
    found = asked("--splits", "4")
    assert list(found.tested) == ["", "split2", "split3", "split4"]
    assert len({tuple(one.rows) for one in found.tested.values()}) == 4
    means = []
    for name, test in found.tested.items():
        cell = found.cell("stats", "all", "ridge", division=name)
        assert cell is not None
        means.append(np.mean(np.array(cell.runs[0].predictions) == test.truth))
    one = found.accuracy("stats", "all", "ridge")
    assert one is not None
    ratio = np.mean([len(test.rows) / test.learned for test in found.tested.values()])
    se = np.sqrt((1 / 4 + ratio) * np.var(means, ddof=1))
    assert (one.mean, one.se, one.df) == (pytest.approx(np.mean(means)), pytest.approx(se), 3)
    scaled = (np.array([one.low, one.high]) - one.mean) / np.sqrt(
        np.array([one.low, one.high]) * (1 - np.array([one.low, one.high]))
    )
    unit = stats.t.ppf(0.975, 3) * se / np.sqrt(one.mean * (1 - one.mean))
    np.testing.assert_allclose(np.abs(scaled), unit, rtol=1e-6)  # Wilson's interval for that standard error
    again = asked("--splits", "4")  # from its checkpoints
    assert again.to_json()["cells"] == found.to_json()["cells"]


def test_copies_stay_on_one_side(asked: Asked, tmp_path: Path) -> None:
    found = asked()
    assert found.dataset["copies"]["exact"] == 1
    assert (7 in found.rows) == (100 in found.rows)
    assert found.dataset["repeated"]["test"] == 0
    assert "1 adapter with the update of another" in (tmp_path / "out" / "summary.md").read_text()
    copies = next((tmp_path / "out" / "cache").glob("copies-*.json"))
    assert json.loads(copies.read_text())["record"] == [[7, 100, "identical"]]


def test_adapters_of_which_nothing_is_said_are_left_out_where_asked(asked: Asked) -> None:
    found = asked("--target", "steps", "--skip-missing")
    assert found.dataset["adapters"] == N - 1
    assert found.dataset["classes"] == ["0", "100"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "nope"], "a column nope in the metadata"),
        (["--target", "one"], "found 'same' for all"),
        (["--target", "steps"], "none for 1 (adapter 3); fill these in, or leave their adapters out: --skip-missing"),
        (["--target", "creator", "--task", "numbers"], "200 values that are none"),
        (["--group-column", "one"], "several groups in one; found one, same"),
        (["--target", "creator", "--group-column", "creator"], "a single group in each class"),
        (["--target", "images", "--classifiers", "logistic"], "use --classifiers mlp ridge knn"),
        (["--splits", "2", "--split", "zoo"], "one split where it is the zoo's own"),
        (["--splits", "0"], "--splits of at least 1"),
        (["--skip-missing"], "--target or --group-column beside --skip-missing"),
        (["--task", "numbers"], "--target beside --task numbers"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["--dataset", str(path), "--output-dir", str(tmp_path / "out"), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_tiny_zoo_is_not_divided_by_groups(tmp_path: Path) -> None:
    plain = small_zoo(n=9)
    tiny = Zoo.from_rows(plain.rows, plain.layout, plain.labels, plain.classes, metadata={"by": ["x", "y", "z"] * 3})
    store.write(tiny, tmp_path / "tiny.safetensors")
    settings: dict[str, Any] = {"representations": ["stats"], "layer_groups": ["all"], "classifiers": ["ridge"], "splits": 3}
    results = lora_perf.experiment.run(tmp_path / "tiny.safetensors", group_column="by", **settings)
    assert results.dataset["resubstitution"]


def test_folds_of_a_single_group_have_a_mean_and_no_interval(asked: Asked, tmp_path: Path) -> None:
    found = asked("--layers", "each", "--group-column", "team", "--classifiers", "ridge", "--representations", "stats")
    folds = found.to_frame()
    folds = folds[folds["division"].str.startswith("fold")]
    single = [len(np.unique(found.tested[name].clusters)) == 1 for name in folds["division"]]
    assert any(single)
    assert folds["accuracy"].between(0, 1).all()
    assert folds["accuracy_low"].isna().tolist() == folds["accuracy_high"].isna().tolist() == single
    cells = [
        one for one in json.loads((tmp_path / "out" / "results.json").read_text())["cells"] if one["division"][:4] == "fold"
    ]
    assert [set(one["accuracy"]) == {"mean"} for one in cells] == single
    assert len(ranking(found, "stats", "ridge")) == len(small_zoo().layout.modules)


def test_another_zoo_that_tests_a_single_group_is_refused_before_anything_is_trained(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_zoo(n=60)
    alone = Zoo.from_rows(other.rows * 2, other.layout, other.labels, other.classes, metadata={"team": ["t0"] * 60})
    alone.save(tmp_path / "alone.safetensors")
    arguments = ["--test-dataset", str(tmp_path / "alone.safetensors"), "--group-column", "team"]
    assert main(["--dataset", str(path), "--output-dir", str(tmp_path / "out"), *arguments]) == 2
    assert "expected test adapters of at least two groups in team; found 60 adapters of t0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
