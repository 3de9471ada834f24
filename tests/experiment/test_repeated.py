"""Adapters that are among the test rows and among those that are learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_perf import Zoo
from lora_perf.core.split import Split
from lora_perf.experiment.repeated import repeated
from lora_perf.io import store
from tests.experiment.conftest import small_zoo

SPLIT = Split(torch.arange(0, 40), torch.arange(40, 45), torch.arange(45, 60), "stratified")


def with_copies(copies: dict[int, int], scales: torch.Tensor | None = None) -> Zoo:
    """The small zoo, in which the rows of the keys are those of the values."""
    zoo = small_zoo()
    rows = zoo.rows.clone()
    for row, of in copies.items():
        rows[row] = rows[of]
    return Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes, name="copies", scales=scales)


def test_test_rows_that_are_learned_from_are_found_with_the_rows_they_repeat() -> None:
    found = repeated(with_copies({45: 0, 50: 42, 59: 1, 58: 57, 30: 29}), SPLIT)
    assert found.pairs == ((45, 0), (50, 42), (59, 1))
    assert found.other_class == 2  # labels count 0, 1, 2 in turn: 45 and 0 have the same one
    assert str(found).startswith("3 test adapters of the same weights as one of train or validation, 2 under another class: ")
    assert "adapter 45 = adapter 0" in str(found)


def test_rows_of_another_scale_are_other_adapters() -> None:
    scales = torch.ones(60, 4)
    scales[45, 2] = 2
    assert repeated(with_copies({45: 0, 46: 1}, scales), SPLIT).pairs == ((46, 1),)


def test_a_zoo_too_small_to_be_divided_repeats_nothing() -> None:
    rows = torch.arange(60)
    assert not repeated(with_copies({45: 0}), Split(rows, rows, rows, "tiny", resubstitution=True))


def test_the_hashes_of_rows_follow_from_their_values_alone(tmp_path: Path) -> None:
    zoo = with_copies({45: 0})
    store.write(zoo, tmp_path / "zoo.safetensors")
    again = store.open_packed(tmp_path / "zoo.safetensors")
    assert (again.row_hashes == zoo.row_hashes).all()
    assert len({one.tobytes() for one in zoo.row_hashes}) == 59
    assert again.fingerprint == zoo.fingerprint


def test_an_experiment_tells_of_repeated_adapters_on_every_page(
    experiment: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment()["dataset"]["repeated"] == {"test": 0, "other_class": 0, "pairs": []}
    zoo = small_zoo()
    copies = torch.cat([zoo.rows[:30], zoo.rows[:30]])
    own = torch.tensor([0] * 25 + [1] * 5 + [2] * 30)
    twice = Zoo.from_rows(copies, zoo.layout, zoo.labels, zoo.classes, split=own, name="twice")
    store.write(twice, tmp_path / "twice.safetensors")
    capsys.readouterr()
    results = experiment("--dataset", str(tmp_path / "twice.safetensors"), "--layer-groups", "all")
    assert results["dataset"]["repeated"]["test"] == 30
    assert results["dataset"]["repeated"]["pairs"][0] == ["adapter 30", "adapter 0"]
    assert "30 test adapters of the same weights as one of train or validation" in capsys.readouterr().out
    assert "**30 of the test adapters have the weights of a train" in (tmp_path / "out" / "summary.md").read_text()
