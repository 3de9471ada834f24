"""Several classifiers, learned representations, sets of representations and costs in one experiment."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_perf import LoraPerfError
from lora_perf.classifiers.metrics import accuracy, paired_difference
from lora_perf.classifiers.searched import Searched
from lora_perf.experiment import inputs
from lora_perf.experiment.__main__ import main
from lora_perf.representations import REPRESENTATIONS, expand, members
from lora_perf.representations.registry import sets
from tests.experiment.conftest import small_zoo

TEN = members("ten")

Experiment = Callable[..., dict[str, Any]]
FOUR = ["--classifiers", "mlp", "ridge", "logistic", "knn", "--representations", "stats"]


def test_each_probe_has_one_run_without_a_seed_and_says_what_it_chose(experiment: Experiment) -> None:
    cells = {(cell["group"], cell["classifier"]): cell for cell in experiment(*FOUR)["cells"]}
    assert len(cells) == 8
    keys = {"ridge": {"alpha"}, "logistic": {"C"}, "knn": {"k", "metric"}}
    for (_, classifier), cell in cells.items():
        if classifier == "mlp":
            assert [run["seed"] for run in cell["runs"]] == [42, 43]
            assert cell["interval_over"] == "seeds and test adapters"
        else:
            (run,) = cell["runs"]
            assert (run["seed"], run["epochs"], run["curves"]) == (None, 0, {})
            assert set(run["setting"]) == keys[classifier]
            assert cell["interval_over"] == "test adapters"


def test_intervals_and_drops_of_a_probe_are_over_test_adapters(experiment: Experiment) -> None:
    results = experiment("--classifiers", "ridge", "--representations", "stats")
    whole, part = (
        [[g == t for g, t in zip(cell["runs"][0]["predictions"], results["test_labels"], strict=True)]]
        for cell in results["cells"]
    )
    assert results["cells"][0]["accuracy"]["se"] == accuracy(whole).se
    assert results["cells"][1]["drop_from_all"]["p"] == paired_difference(whole, part).p


def test_the_classifier_stands_in_every_file(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment(*FOUR, figures=True)
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["classifier"] for row in rows] == ["mlp", "mlp", "ridge", "logistic", "knn"] * 2
    assert rows[2]["seed"] == ""
    text = (tmp_path / "out" / "summary.md").read_text()
    figure = (tmp_path / "out" / "accuracy.svg").read_text()
    shown = capsys.readouterr().out
    for name in ("mlp", "ridge", "logistic", "knn"):
        assert f"| stats | visual | {name} |" in text
        assert f"<!-- {name} -->" in figure
        assert f"stats on all, {name}: accuracy" in shown
    assert "Intervals hold for new seeds and new test adapters (of cells with a single run, for the adapters only)." in text
    assert "Intervals hold for new seeds and new test adapters (of cells with a single run, for the adapters only)." in shown
    assert {path.name.rsplit(".", 2)[0] for path in (tmp_path / "out" / "cells").iterdir()} == {
        f"stats.{group}.{name}" for group in ("all", "visual") for name in ("mlp", "ridge", "logistic", "knn")
    }


def test_the_numbers_of_the_perceptron_do_not_depend_on_what_else_runs(experiment: Experiment) -> None:
    alone = experiment("--representations", "stats")["cells"]
    beside = experiment(*FOUR, "--no-resume", "--controls", "shuffled", "norm", "halves")["cells"]
    chosen = [cell for cell in beside if cell["classifier"] == "mlp" and not cell["shuffled"]]
    found = {(cell["representation"], cell["group"]): cell for cell in chosen}
    for cell in alone:
        other = found[cell["representation"], cell["group"]]
        assert [run["predictions"] for run in cell["runs"]] == [run["predictions"] for run in other["runs"]]


def test_sets_stand_for_their_representations_each_once() -> None:
    assert expand(["ten"]) == TEN
    assert expand(["dw"]) == members("dw")
    assert expand(["flat_vec", "ten"]) == ("flat_vec", *(name for name in TEN if name != "flat_vec"))
    of_sets = {name for name, one in REPRESENTATIONS.items() if one.family != "controls"}
    assert set(expand(sets())) == of_sets


def test_sets_and_names_are_listed_where_a_name_is_unknown() -> None:
    with pytest.raises(LoraPerfError, match=r"dw_kernel.*a set of them \(ten, dw, learned.*\); found 'all'"):
        expand(["all"])


def test_learned_representations_are_fitted_to_each_group_and_kept(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    represent = inputs.represent

    def counted(zoo: Any, names: list[str], **asked: Any) -> Any:
        fitted.append(len(asked["layers"]))
        assert len(asked["train"].train) == 42
        return represent(zoo, names, **asked)

    monkeypatch.setattr(inputs, "represent", counted)
    flags = ["--classifiers", "ridge", "knn", "--representations", "dw_kernel"]
    first = experiment(*flags)
    assert fitted == [8, 4]  # once a group, not once a classifier
    assert all(cell["milliseconds"] > 0 for cell in first["cells"])
    for path in (tmp_path / "out" / "cells").iterdir():
        path.unlink()
    second = experiment(*flags)
    assert [cell["accuracy"] for cell in first["cells"]] == [cell["accuracy"] for cell in second["cells"]]
    assert {cell["milliseconds"] for cell in second["cells"]} == {None}  # they came from the cache


def test_learned_features_need_no_cache(experiment: Experiment, tmp_path: Path) -> None:
    results = experiment("--classifiers", "ridge", "--representations", "pca", "--no-cache-features")
    assert results["cells"][0]["features"] > 1
    assert not (tmp_path / "out" / "cache").exists()


def test_the_dry_run_says_what_is_fitted_when_run(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--dataset",
        str(small),
        "--output-dir",
        str(tmp_path / "out"),
        "--dry-run",
        "--epochs",
        "2",
        "--hidden-dim",
        "8",
        "--controls",
    ]
    assert main([*flags, "--representations", "stats", "pca", "--classifiers", "mlp", "knn"]) == 0
    shown = capsys.readouterr().out
    assert "4 cells x 10 runs and 4 cells of probes" in shown
    assert "fitted when run, not estimated: pca, knn" in shown
    assert main([*flags, "--representations", "pca", "--classifiers", "ridge"]) == 0


def test_costs_are_measured_once_and_kept_with_the_cells(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def measured(zoo: Any, name: str, layers: Any, device: Any) -> float:
        asked.append((name, len(layers)))
        return 1.5 * len(asked)

    monkeypatch.setattr(inputs, "_measured", measured)
    first = experiment(*FOUR, "--controls", "halves", "shuffled")
    assert asked == [("stats", 8), ("stats", 4)]
    shown = [cell["milliseconds"] for cell in first["cells"] if cell["group"] in ("all", "visual")]
    assert shown == [1.5] * 8 + [3.0] * 8
    assert {cell["milliseconds"] for cell in first["cells"] if cell["group"] not in ("all", "visual")} == {None}
    experiment(*FOUR)
    assert len(asked) == 2


def test_a_sample_keeps_scales_and_ranks() -> None:
    import torch

    from lora_perf import Zoo

    zoo = small_zoo()
    scales, ranks = torch.rand(len(zoo), 4), torch.ones((len(zoo), 4), dtype=torch.int64)
    some = inputs.sample(Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=scales, ranks=ranks), 5)
    assert len(some) == 5
    assert some.scales is not None
    assert some.ranks is not None
    torch.testing.assert_close(some.scales, scales[:5])


def test_probes_of_too_many_dimensions_are_refused_before_any_work(
    experiment: Experiment, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lora_perf.classifiers.coordinates.MOST_DIMENSIONS", 30)
    flags = ["--dataset", str(small), "--output-dir", str(tmp_path / "out"), "--representations", "stats"]
    assert main([*flags, "--classifiers", "ridge"]) == 2
    assert "at most 30 train rows or features" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_probe_is_no_constant_cell(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise LoraPerfError(expected="a", found="b", fix="c")

    monkeypatch.setattr(Searched, "fit", broken)
    with pytest.raises(FileNotFoundError):
        experiment("--classifiers", "ridge", "--representations", "stats", status=2)
