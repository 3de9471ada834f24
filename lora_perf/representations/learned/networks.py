"""How the networks of this room are trained: on part of the train rows, until the rest of them says stop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from lora_perf.representations.learned.task import Task

_HELD_OUT = 0.1  # of the train rows; validation and test rows are never looked at
_EPOCHS = 100  # on `digits` the contrastive encoder gained 0.02 between 30 and 100; the stop often comes earlier
_PATIENCE = 10
_BATCH = 256
_RATE = 1e-3
_DECAY = 1e-2

Network = TypeVar("Network", bound=nn.Module)
# (places among the train rows, random numbers) -> the mean loss of these rows
Loss = Callable[[Tensor, torch.Generator], Tensor]


def seeded(make: Callable[[], Network], task: Task) -> Network:
    """A network whose initial weights follow from the seed; torch's own random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return make().to(task.device)


def train(net: nn.Module, loss: Loss, task: Task) -> None:
    """Trains a network by AdamW and leaves it with the weights that were best on the held-out train rows, in eval mode.

    The held-out rows see the same random numbers after every epoch, so that their losses can be compared. A control stays as it
    starts.
    """
    if not task.trained:
        net.eval()
        return
    generator = torch.Generator().manual_seed(task.seed)
    order = torch.randperm(len(task.train), generator=generator)
    held, rest = order.split([count := max(1, round(_HELD_OUT * len(order))), len(order) - count])
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    lowest, best, since = float("inf"), copy.deepcopy(net.state_dict()), 0
    for _ in range(_EPOCHS):
        net.train()
        for places in rest[torch.randperm(len(rest), generator=generator)].split(_BATCH):
            optimiser.zero_grad(set_to_none=True)
            loss(places, generator).backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            same = torch.Generator().manual_seed(task.seed)
            now = sum(len(places) * float(loss(places, same)) for places in held.split(_BATCH)) / len(held)
        since += 1
        if now < lowest:
            lowest, best, since = now, copy.deepcopy(net.state_dict()), 0
        if since >= _PATIENCE:
            break
    net.load_state_dict(best)
    net.eval()
