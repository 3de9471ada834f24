"""How probes are tuned and tried, `--choose` and `--permuted`: from the command to the tables, and what is taken again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lora_perf
from lora_perf import LoraPerfError
from lora_perf.core.split import make_split
from lora_perf.experiment.__main__ import main
from lora_perf.experiment.folds import inner_folds
from tests.experiment.conftest import small_zoo
from tests.experiment.test_studies import telling_zoo

Experiment = Callable[..., dict[str, Any]]
PROBED = ("--classifiers", "ridge", "knn", "--representations", "stats")


@given(seed=st.integers(0, 99), n=st.integers(40, 90), width=st.integers(1, 6))
def test_folds_hold_each_learned_adapter_once_and_groups_whole(seed: int, n: int, width: int) -> None:
    labels, groups = torch.arange(n) % 3, torch.arange(n) // width
    split = make_split(labels, ["a", "b", "c"], seed=seed)
    folds = inner_folds(split, labels, groups, seed)
    assert torch.cat(folds).sort().values.tolist() == sorted([*split.train.tolist(), *split.validation.tolist()])
    for held in folds:
        rest = torch.cat([one for one in folds if one is not held])
        assert not set(groups[held].tolist()) & set(groups[rest].tolist())


def test_classes_are_even_in_folds() -> None:
    labels = torch.arange(200) % 4
    folds = inner_folds(make_split(labels, [*"abcd"]), labels, None, 0)
    counts = torch.stack([labels[held].bincount(minlength=4) for held in folds])
    assert len(folds) == 5
    assert int((counts.amax(dim=0) - counts.amin(dim=0)).max()) <= 1


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (lambda labels: labels * 0, "all of one group"),
        (lambda labels: labels, "all adapters of a class but one class"),
    ],
)
def test_adapters_that_cannot_be_divided_are_refused(groups: Callable[[torch.Tensor], torch.Tensor], found: str) -> None:
    labels = torch.arange(40) % 2
    with pytest.raises(LoraPerfError, match=f"{found}; use --choose validation"):
        inner_folds(make_split(labels, ["a", "b"]), labels, groups(labels), 0)


def test_probes_are_fitted_to_validation_adapters_too(experiment: Experiment, small: Path) -> None:
    usual = experiment(*PROBED)
    found = experiment(*PROBED, "--choose", "folds")
    assert (usual["dataset"]["folds"], found["dataset"]["folds"]) == (0, 5)
    assert found["config"]["choose"] == "folds"
    by_hand = lora_perf.experiment.run(
        small, representations=["stats"], classifiers=["ridge", "knn"], controls=[], permutations=3, choose="folds"
    )
    assert [one["runs"][0]["predictions"] for one in found["cells"]] == [one.runs[0].predictions for one in by_hand.cells]
    assert "best over 5 folds" in (small.parent / "out" / "summary.md").read_text()


def test_cells_of_one_choice_are_never_taken_for_the_other(experiment: Experiment, tmp_path: Path) -> None:
    flags = ("--classifiers", "ridge", "mlp", "--representations", "stats")
    experiment(*flags)
    before = {path.name for path in (tmp_path / "out" / "cells").iterdir()}
    experiment(*flags, "--choose", "folds")
    added = {path.name for path in (tmp_path / "out" / "cells").iterdir()} - before
    assert sorted(name.rsplit(".", 2)[0] for name in added) == ["stats.all.ridge", "stats.visual.ridge"]  # mlp's are the same


def test_fewer_adapters_of_a_class_than_folds_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_zoo(n=15).save(tmp_path / "few.safetensors")  # of each class four to learn from
    flags = ["--dataset", str(path), "--choose", "folds", *PROBED, "--controls", "--permutations", "0"]
    assert main([*flags, "--output-dir", str(tmp_path / "out")]) == 0
    assert "--choose folds: 4 folds instead of 5" in " ".join(capsys.readouterr().out.split())
    assert lora_perf.Results.load(tmp_path / "out").dataset["folds"] == 4


def test_a_zoo_too_small_for_parts_has_no_folds() -> None:
    results = lora_perf.experiment.run(
        small_zoo(n=9), representations=["stats"], classifiers=["ridge"], controls=[], choose="folds", permutations=0
    )
    assert (results.dataset["folds"], results.dataset["resubstitution"]) == (0, True)


def test_every_split_has_folds_of_its_own() -> None:
    zoo = telling_zoo(n=120)
    results = lora_perf.experiment.run(
        zoo,
        representations=["matrix_norms"],
        layer_groups=["all"],
        classifiers=["ridge"],
        controls=[],
        permutations=0,
        layers="each",
        train_sizes=[30],
        test_dataset=telling_zoo(1, n=120),
        choose="folds",
    )
    assert {one.kind for one in results.tested.values()} == {"repeat", "size", "fold", "transfer", "native"}
    assert all(one.setting for one in results.cells)


def test_logistic_regression_is_permuted_where_it_is_named(experiment: Experiment) -> None:
    flags = ("--classifiers", "ridge", "logistic", "--representations", "stats", "--layer-groups", "all", "--permutations", "5")
    usual = experiment(*flags)
    named = experiment(*flags, "--permuted", "logistic")
    assert [bool(one["permuted"]) for one in usual["cells"]] == [True, False]
    assert [bool(one["permuted"]) for one in named["cells"]] == [False, True]
    assert named["cells"][1]["permuted"]["count"] == 5
