"""PCA: scikit-learn's, whichever way the components were found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned import pca, task
from tests.conftest import MakeZoo
from tests.representations.learned.updates import learn

# 26 parameters: fewer than 40 train rows, more than 12.
MANY, FEW = torch.arange(3, 43), torch.arange(3, 15)


def expected(rows: NDArray[np.float32], train: NDArray[np.int64], d: int) -> NDArray[np.float64]:
    """Scores of all rows, with the sign rule of the package."""
    fitted = PCA(d, svd_solver="full").fit(rows[train].astype(np.float64))
    scores: NDArray[np.float64] = fitted.transform(rows.astype(np.float64))
    return scores * np.where((scores[train] ** 3).sum(axis=0) < 0, -1, 1)


@pytest.mark.parametrize("train", [MANY, FEW], ids=["covariance", "inner products"])
def test_scores_are_those_of_scikit_learn(train: torch.Tensor, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(50)
    found = learn(zoo, "pca", train=train)
    d = min(26, len(train) - 1)
    oracle = torch.from_numpy(expected(zoo.rows.numpy(), train.numpy(), d)).float()
    torch.testing.assert_close(found.values, oracle, rtol=1e-5, atol=1e-5)


def test_rows_far_from_zero_keep_their_scores(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(50)
    far = Zoo.from_rows(zoo.rows + 1_000, zoo.layout, zoo.labels, zoo.classes)
    for train in (MANY, FEW):
        oracle = torch.from_numpy(expected(far.rows.numpy(), train.numpy(), 5)).float()
        torch.testing.assert_close(learn(far, "pca", train=train, dimensions=5).values, oracle, rtol=1e-5, atol=1e-5)


def test_both_routes_have_one_result(random_zoo: MakeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = random_zoo(50)
    covariance = learn(zoo, "pca", train=MANY)
    monkeypatch.setattr(pca, "LANDMARKS", 0)
    torch.testing.assert_close(learn(zoo, "pca", train=MANY).values, covariance.values, rtol=1e-5, atol=1e-5)


def test_beyond_the_limit_the_components_are_those_of_the_landmarks(
    random_zoo: MakeZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = random_zoo(50)
    monkeypatch.setattr(task, "LANDMARKS", 10)
    monkeypatch.setattr(pca, "LANDMARKS", 10)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(7))[:10]
    landmarks = MANY[order.sort().values].numpy()
    oracle = torch.from_numpy(expected(zoo.rows.numpy(), landmarks, 9)).float()
    torch.testing.assert_close(learn(zoo, "pca", train=MANY, seed=7).values, oracle, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("train", [MANY, FEW], ids=["covariance", "inner products"])
def test_the_size_of_a_chunk_changes_nothing(train: torch.Tensor, random_zoo: MakeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = random_zoo(50)
    whole = learn(zoo, "pca", train=train).values
    monkeypatch.setattr(task, "_CHUNK_NBYTES", 8 * 12 * 5)
    torch.testing.assert_close(learn(zoo, "pca", train=train).values, whole, rtol=1e-5, atol=1e-5)


def test_chosen_layers_alone_are_seen(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(50)
    layers = zoo.layout.group("up")
    rows = torch.cat([zoo.rows[:, layer.columns] for layer in layers], dim=1).numpy()
    oracle = torch.from_numpy(expected(rows, FEW.numpy(), 10)).float()
    torch.testing.assert_close(learn(zoo, "pca", train=FEW, layers=layers).values, oracle, rtol=1e-5, atol=1e-5)


def test_a_mapped_zoo_has_the_same_scores(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(50)
    lora_perf.pack(zoo, tmp_path / "zoo.safetensors")
    mapped = lora_perf.load(tmp_path / "zoo.safetensors")
    assert torch.equal(learn(mapped, "pca", train=FEW).values, learn(zoo, "pca", train=FEW).values)


def test_constant_and_repeated_columns_give_no_component(random_zoo: MakeZoo) -> None:
    rows = random_zoo(50).rows.clone()
    rows[:, :20] = 0.3
    rows[:, 22] = rows[:, 23]
    zoo = random_zoo(50)
    found = learn(Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes), "pca", train=MANY)
    assert found.values.shape == (50, 5)


def test_the_default_number_of_components_has_a_limit(random_zoo: MakeZoo) -> None:
    shapes = (("a.lora.down.weight", (1, 200)), ("a.lora.up.weight", (100, 1)))
    assert learn(random_zoo(310, shapes), "pca", train=torch.arange(305)).values.shape == (310, 256)
