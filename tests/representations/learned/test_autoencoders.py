"""Autoencoders: their codes hold what varies together in the rows, and their masks hide what they should."""

from __future__ import annotations

import pytest
import torch

from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned import autoencoders
from tests.conftest import MakeZoo
from tests.representations.learned.updates import accuracy, learn

TRAIN, TEST = torch.arange(80), torch.arange(80, 120)


@pytest.fixture(scope="module")
def clustered(random_zoo: MakeZoo) -> Zoo:
    """Three clusters of rows whose columns have scales of their own."""
    zoo = random_zoo(120)
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(120) % 3
    rows = zoo.rows + 3 * torch.randn((3, 26), generator=generator)[labels]
    return Zoo.from_rows(rows * 10 ** torch.linspace(-3, 3, 26), zoo.layout, labels, zoo.classes)


@pytest.mark.parametrize("name", ["vae", "denoising"])
def test_few_codes_tell_clusters_of_unseen_rows_apart(name: str, clustered: Zoo) -> None:
    found = learn(clustered, name, train=TRAIN, dimensions=4)
    assert found.values.shape == (120, 4)
    assert accuracy(found.values, clustered.labels, TRAIN, TEST) > 0.95


@pytest.mark.parametrize("name", ["vae", "denoising"])
def test_codes_are_64_by_default(name: str, clustered: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_perf.representations.learned.networks._EPOCHS", 1)
    assert learn(clustered, name, train=TRAIN).values.shape == (120, 64)


def test_a_quarter_of_the_entries_is_masked_and_the_rest_is_noisy(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(5)
    task = autoencoders.denoising.task(zoo, zoo.layout.layers, torch.device("cpu"), torch.arange(5), 42, None)
    x = torch.full((200, 300), 2.0, dtype=torch.float64)
    corrupted = autoencoders._corruption(task)(x)
    masked = corrupted == 0
    assert abs(float(masked.double().mean()) - 0.25) < 0.01
    left = corrupted[~masked]
    assert abs(float(left.mean()) - 2) < 0.01
    assert abs(float(left.std()) - 0.1) < 0.01
