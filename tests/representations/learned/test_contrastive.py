"""Contrastive learning: the views are one update in two gauges, and the encoder learns to see the update."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.representations.learned import contrastive
from tests.representations.learned.updates import accuracy, learn, planted

TRAIN, TEST = torch.arange(200), torch.arange(200, 300)


@given(rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_random_gauge_is_invertible_and_well_conditioned(rank: int, seed: int) -> None:
    gauge, inverse = contrastive.random_gauges(6, rank, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(gauge @ inverse, torch.eye(rank).expand(6, rank, rank), rtol=1e-4, atol=1e-4)
    assert float(torch.linalg.cond(gauge).max()) < 100


def test_at_rank_one_a_gauge_is_a_scale_of_either_sign() -> None:
    gauge, _ = contrastive.random_gauges(1_000, 1, torch.Generator().manual_seed(0))
    assert abs(float((gauge > 0).double().mean()) - 0.5) < 0.05


def test_a_view_is_the_same_update_in_other_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "_NOISE", 0)
    monkeypatch.setattr(contrastive, "_DROPPED", 0)
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn((5, 6, 3), generator=generator), torch.randn((5, 3, 4), generator=generator)
    other_up, other_down = contrastive._view(up, down, generator)
    torch.testing.assert_close(other_up @ other_down, up @ down, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(other_up, up, atol=0.1)


def test_a_share_of_the_modules_of_a_view_is_dropped() -> None:
    generator = torch.Generator().manual_seed(0)
    up, _ = contrastive._view(torch.ones(2_000, 3, 1), torch.ones(2_000, 1, 3), generator)
    assert abs(float((up == 0).all(dim=1).double().mean()) - 0.3) < 0.03


def test_the_loss_is_the_cross_entropy_of_finding_the_other_view() -> None:
    z = torch.randn((6, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(6):
        weights = [torch.exp(unit[i] @ unit[j] / 0.2) for j in range(6)]
        losses.append(-torch.log(weights[(i + 3) % 6] / (sum(weights) - weights[i])))
    torch.testing.assert_close(contrastive._nt_xent(z), torch.stack(losses).mean())


@pytest.mark.parametrize("rank", [1, 2])
def test_embeddings_tell_apart_what_differs_in_the_update_alone(rank: int) -> None:
    zoo = planted(300, rank, noise=0.05)
    found = learn(zoo, "contrastive", train=TRAIN, dimensions=64).values
    assert accuracy(zoo.rows, zoo.labels, TRAIN, TEST) < 0.6  # 0.46: of the entries of factors, and no more with less noise
    assert accuracy(found, zoo.labels, TRAIN, TEST) > 0.9  # 0.99 and more: no rounding of a fit turns ten of a hundred
