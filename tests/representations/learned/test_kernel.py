"""Kernel PCA of updates: the PCA of the updates once formed, for any rank, scale and gauge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA, KernelPCA

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned import kernel, task
from tests.conftest import MakeZoo
from tests.representations.learned.updates import flattened, learn

TRAIN = torch.arange(2, 14)


def with_scales(zoo: Zoo, seed: int = 5) -> Zoo:
    scales = torch.rand((len(zoo), len(zoo.layout.modules)), generator=torch.Generator().manual_seed(seed)) + 0.5
    return Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=scales)


def signed(scores: np.ndarray, train: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(scores * np.where((scores[train] ** 3).sum(axis=0) < 0, -1, 1)).float()


@settings(max_examples=15)
@given(rank=st.integers(1, 4), m=st.integers(1, 6), k=st.integers(1, 6), seed=st.integers(0, 99), scaled=st.booleans())
def test_scores_are_those_of_a_pca_of_formed_updates(
    random_zoo: MakeZoo, rank: int, m: int, k: int, seed: int, scaled: bool
) -> None:
    shapes = (
        ("a.lora.down.weight", (rank, k)),
        ("b.lora.up.weight", (k, 2)),
        ("a.lora.up.weight", (m, rank)),
        ("b.lora.down.weight", (2, m)),
    )
    zoo = random_zoo(18, shapes, seed=seed)
    zoo = with_scales(zoo) if scaled else zoo
    full = flattened(zoo)
    d = min(2, m * k)
    scores = PCA(d, svd_solver="full").fit(full[TRAIN.numpy()]).transform(full)
    found = learn(zoo, "dw_kernel", train=TRAIN, dimensions=d).values
    torch.testing.assert_close(found, signed(scores, TRAIN.numpy()), rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_scikit_learns_kernel_pca(random_zoo: MakeZoo) -> None:
    zoo = with_scales(random_zoo(18))
    full = flattened(zoo)
    products = full @ full.T
    fitted = KernelPCA(11, kernel="precomputed").fit(products[np.ix_(TRAIN, TRAIN)])
    expected = signed(fitted.transform(products[:, TRAIN.numpy()]), TRAIN.numpy())
    torch.testing.assert_close(learn(zoo, "dw_kernel", train=TRAIN).values, expected, rtol=1e-5, atol=1e-5)


def test_another_gauge_is_the_same_update(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    rows = zoo.rows.double().clone()
    gauges = torch.randn((18, 2, 2), generator=torch.Generator().manual_seed(1)).double() + 2 * torch.eye(2)
    for module in zoo.layout.modules:
        up, down = (rows[:, side.columns].unflatten(1, side.shape) for side in (module.up, module.down))
        rows[:, module.up.columns], rows[:, module.down.columns] = (
            (up @ gauges).flatten(1),
            torch.linalg.solve(gauges, down).flatten(1),
        )
    other = Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes)
    expected = learn(zoo, "dw_kernel", train=TRAIN, dimensions=5).values
    torch.testing.assert_close(learn(other, "dw_kernel", train=TRAIN, dimensions=5).values, expected, rtol=1e-4, atol=1e-4)


def test_adapters_of_different_ranks_are_compared(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    rows = zoo.rows.clone()
    for layer in zoo.layout:
        keep = torch.zeros(layer.shape)
        keep[:1, :] = 1
        if layer.side == "up":
            keep.zero_()[:, :1] = 1
        rows[::2, layer.columns] *= keep.flatten()
    ranks = torch.tensor([[1, 1], [2, 2]] * 9)
    mixed = Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes, ranks=ranks)
    full = flattened(mixed, rows.numpy())
    scores = PCA(4, svd_solver="full").fit(full[TRAIN.numpy()]).transform(full)
    found = learn(mixed, "dw_kernel", train=TRAIN, dimensions=4).values
    torch.testing.assert_close(found, signed(scores, TRAIN.numpy()), rtol=1e-4, atol=1e-5)


def test_beyond_the_limit_the_components_are_those_of_the_landmarks(
    random_zoo: MakeZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = random_zoo(18)
    monkeypatch.setattr(task, "LANDMARKS", 6)
    landmarks = TRAIN[torch.randperm(12, generator=torch.Generator().manual_seed(3))[:6].sort().values].numpy()
    full = flattened(zoo)
    scores = PCA(5, svd_solver="full").fit(full[landmarks]).transform(full)
    found = learn(zoo, "dw_kernel", train=TRAIN, seed=3).values
    torch.testing.assert_close(found, signed(scores, landmarks), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [1, 4, 10])
def test_the_size_of_a_tile_changes_nothing(tile: int, random_zoo: MakeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = with_scales(random_zoo(18))
    whole = learn(zoo, "dw_kernel", train=TRAIN[:4]).values
    monkeypatch.setattr(kernel, "_TILE", tile)
    torch.testing.assert_close(learn(zoo, "dw_kernel", train=TRAIN[:4]).values, whole, rtol=1e-5, atol=1e-5)


def test_a_layer_without_its_partner_is_left_aside(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    with_a_half = learn(zoo, "dw_kernel", layers=zoo.layout.layers[:3], train=TRAIN)
    assert torch.equal(with_a_half.values, learn(zoo, "dw_kernel", layers=zoo.layout.group("visual"), train=TRAIN).values)
    assert with_a_half.parts[0].layers == (0, 1)


@pytest.mark.parametrize("name", ["dw_kernel", "contrastive"])
def test_one_side_alone_makes_no_update(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    with pytest.raises(LoraPerfError, match=f"modules with both an up and a down for {name}; found none within"):
        learn(zoo, name, layers=zoo.layout.group("up"), train=TRAIN)


def test_updates_that_overflow_float32_are_refused(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    zoo.rows[16] = 1e20
    with pytest.raises(LoraPerfError, match="whose dw_kernel fits float32; found features of adapter 16 that overflow"):
        learn(zoo, "dw_kernel", train=TRAIN)


def test_tiny_and_zero_updates_keep_finite_scores(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    zoo.rows.mul_(1e-15)
    zoo.rows[3] = 0
    large = Zoo.from_rows(zoo.rows.double() * 1e15, zoo.layout, zoo.labels, zoo.classes)
    found = learn(zoo, "dw_kernel", train=TRAIN, dimensions=5).values
    expected = learn(large, "dw_kernel", train=TRAIN, dimensions=5).values
    torch.testing.assert_close((found.double() * 1e30).float(), expected, rtol=1e-4, atol=1e-5)
