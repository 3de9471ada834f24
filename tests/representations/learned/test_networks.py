"""Training: it stops in time, keeps the best weights, and looks at train rows only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lora_perf.representations.learned import autoencoders, networks
from lora_perf.representations.learned.task import Task
from tests.conftest import MakeZoo


@pytest.fixture
def task(random_zoo: MakeZoo) -> Task:
    zoo = random_zoo(60)
    return autoencoders.vae.task(zoo, zoo.layout.layers, torch.device("cpu"), torch.arange(5, 55), 42, None)


class Weight(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(()))


def test_the_weights_are_those_of_the_best_epoch(task: Task) -> None:
    net = networks.seeded(Weight, task)
    held: list[tuple[float, float]] = []

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        if net.training:
            return -net.weight  # grows by a thousandth an epoch
        held.append((value := float((net.weight - start - 0.005).square()), net.weight.item()))
        return torch.tensor(value)

    start = net.weight.item()
    networks.train(net, loss, task)
    values = [value for value, _ in held]
    best = values.index(min(values))
    assert best + 1 + networks._PATIENCE == len(values) < networks._EPOCHS
    assert net.weight.item() == held[best][1]
    assert not net.training


def test_held_out_rows_are_train_rows_that_no_step_sees(task: Task) -> None:
    net = networks.seeded(Weight, task)
    seen: dict[bool, set[int]] = {True: set(), False: set()}

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        seen[net.training] |= set(places.tolist())
        return net.weight.square()

    networks.train(net, loss, task)
    assert len(seen[False]) == 5
    assert not seen[True] & seen[False]
    assert seen[True] | seen[False] == set(range(50))


def test_held_out_rows_see_the_same_random_numbers_after_every_epoch(task: Task) -> None:
    net = networks.seeded(Weight, task)
    drawn: list[float] = []

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        number = torch.rand((), generator=generator)
        if not net.training:
            drawn.append(float(number))
        return net.weight * number

    networks.train(net, loss, task)
    assert len(drawn) > 1
    assert len(set(drawn)) == 1


def test_the_random_numbers_of_others_are_left_as_they_were(task: Task) -> None:
    before = torch.get_rng_state()
    first, second = (networks.seeded(Weight, task).weight for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
