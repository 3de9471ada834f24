"""What the definitions of the ten hide, as their docstrings say: on real adapters of rank 1 and on matrices made for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.representations import REPRESENTATIONS, Matrices
from lora_perf.representations.kinds import PerMatrix

# At rank 1; those of which features of one layer are the same number, or constant.
DIFFERING = {"spectral": 24, "matrix_norms": 72, "frequency": 312, "info_theoretic": 24, "stats": 168, "rank_based": 264}
OF_ENTRIES = ("simple_stats", "stats", "rank_based", "distribution", "info_theoretic")


@cache
def features(name: str) -> torch.Tensor:
    """(n, layers, f) float64."""
    return lora_perf.represent(lora_perf.load("digits"), [name])[name].values.double().unflatten(1, (24, -1))


def of_matrix(name: str, matrix: torch.Tensor) -> list[float]:
    one = REPRESENTATIONS[name]
    assert isinstance(one, PerMatrix)
    found: list[float] = one.function(Matrices(matrix[None], torch.tensor([False])))[0].tolist()
    return found


def permuted(zoo: Zoo) -> Zoo:
    """The channels of each layer in another order, the same for all adapters."""
    rows, generator = zoo.rows.clone(), torch.Generator().manual_seed(0)
    for layer in zoo.layout:
        axis = 1 if layer.side == "up" else 2
        matrices = zoo.rows[:, layer.columns].unflatten(1, layer.shape)
        order = torch.randperm(matrices.shape[axis], generator=generator)
        rows[:, layer.columns] = matrices.index_select(axis, order).flatten(1)
    return Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes)


@pytest.mark.parametrize("name", DIFFERING)
def test_at_rank_one_so_many_columns_differ(name: str) -> None:
    values = features(name).flatten(1)
    deviation = values.std(dim=0, correction=0)
    varying = values[:, deviation > 1e-6 * values.abs().amax(dim=0)]
    unit = (varying - varying.mean(dim=0)) / varying.std(dim=0, correction=0)
    like = (unit.T @ unit / len(unit)).abs() > 1 - 1e-6
    assert int((~like.triu(1).any(dim=0)).sum()) == DIFFERING[name]


def test_frequency_repeats_its_largest_magnitude() -> None:
    found = features("frequency")
    assert torch.equal(found[:, :, 0], found[:, :, 12])
    twice = (found[:, :, :9] == found[:, :, 1:10]).any(dim=2)
    assert float(twice.double().mean()) > 0.99


def test_frequency_moves_with_the_order_of_channels_and_statistics_of_entries_do_not() -> None:
    zoo = permuted(lora_perf.load("digits"))
    moved = lora_perf.represent(zoo, ["frequency", *OF_ENTRIES])
    for name in OF_ENTRIES:
        assert torch.equal(moved[name].values.double(), features(name).flatten(1))
    before = features("frequency").flatten(1)
    away = (moved["frequency"].values.double() - before).norm() / before.norm()
    assert float(away) == pytest.approx(0.16, abs=0.005)


@pytest.mark.parametrize(("entries", "most"), [(16, 0.709), (32, 0.886)])
def test_entropy_of_few_entries_ends_below_one(entries: int, most: float) -> None:
    spread = of_matrix("info_theoretic", torch.linspace(0, 1, entries)[None])[1]  # one entry a bin
    assert spread == pytest.approx(most, abs=5e-4)
    assert spread == pytest.approx(np.log(entries) / np.log(50))
    of_size = [i for i, layer in enumerate(lora_perf.load("digits").layout) if layer.size == entries]
    assert float(features("info_theoretic")[:, of_size, 1].max()) <= most + 5e-4


def test_entropy_of_singular_values_is_over_ten_of_them() -> None:
    for rank in (10, 11):
        assert of_matrix("spectral", torch.eye(rank, 12))[29] == pytest.approx(np.log(10))


def test_the_norm_follows_from_mean_and_deviation() -> None:
    found, zoo = features("simple_stats"), lora_perf.load("digits")
    sizes = torch.tensor([layer.size for layer in zoo.layout])
    torch.testing.assert_close(
        found[:, :, 0].square() / sizes, found[:, :, 1].square() + found[:, :, 2].square(), rtol=1e-5, atol=0
    )


def test_none_of_the_ten_sees_the_scale() -> None:
    zoo = lora_perf.load("digits")[:20]
    scales = 1 + torch.rand((20, len(zoo.layout.modules)), generator=torch.Generator().manual_seed(0))
    other = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=scales)
    found, scaled = (lora_perf.represent(one, ["ten"]) for one in (zoo, other))
    for name, one in found.items():
        assert torch.equal(torch.as_tensor(np.asarray(one)), torch.as_tensor(np.asarray(scaled[name])))
    assert not torch.equal(*(lora_perf.represent(one, ["dw_norms"])["dw_norms"].values for one in (zoo, other)))
