"""Controls: what accuracies are worth beside labels that mean nothing, single numbers of a module, and random halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.core.split import Split
from lora_perf.representations.kinds import modules_within

_TRIES = 1_000
_TOLERANCE = 0.1  # of the parameters of a half beside those of the group that it stands beside


def shuffled_labels(labels: Tensor, split: Split, seed: int) -> Tensor:
    """Labels (n,) permuted among the train and validation rows; those of the test rows stay.

    Of two classes or more among the train rows at least two stay there: a rare class may else go to the validation rows alone.
    """
    rows = torch.cat([split.train, split.validation]).unique()
    rng = np.random.default_rng(seed)
    several = len(labels[split.train].unique()) > 1
    while True:
        found = labels.clone()
        found[rows] = labels[rows[torch.from_numpy(rng.permutation(len(rows)))]]
        if not several or len(found[split.train].unique()) > 1:
            return found


def random_halves(
    layout: Layout, whole: Sequence[Layer], part: Sequence[Layer], seed: int, count: int
) -> dict[str, tuple[Layer, ...]]:
    """Random choices of whole modules of one layer group, `half0` and so on, each the size of another group.

    Each half has as many modules as `part` and, where chance allows, its number of parameters within a tenth; no two halves
    are the same, and none is `part` itself. Small groups may have fewer than `count` halves.

    Raises:
        LoraPerfError: `part` is not made of whole modules, or is all of `whole`.
    """
    pool, wanted = modules_within(layout, whole, "halves"), modules_within(layout, part, "halves")
    if 2 * len(wanted) != len(part) or not set(wanted) < set(pool):
        raise LoraPerfError(
            expected="a second layer group of whole modules, fewer than the first has, for --controls halves",
            found=f"{len(part)} layers with {len(wanted)} whole modules beside {len(pool)}",
            fix="compare --layer-groups all visual, or leave halves out",
        )
    rng = np.random.default_rng(seed)
    target = frozenset(wanted)
    drawn: dict[frozenset[Module], None] = {}
    for _ in range(_TRIES):
        places = rng.choice(len(pool), len(wanted), replace=False)
        drawn[frozenset(pool[place] for place in places.tolist())] = None
    drawn.pop(target, None)
    size = _parameters(target)
    distances = {half: abs(_parameters(half) - size) for half in drawn}
    near = [half for half in drawn if distances[half] <= _TOLERANCE * size]
    chosen = near if len(near) >= count else sorted(drawn, key=distances.__getitem__)
    halves = {}
    for number, half in enumerate(chosen[:count]):
        sides = {layer for one in half for layer in (one.up, one.down)}
        halves[f"half{number}"] = tuple(layer for layer in layout if layer in sides)
    if not halves:
        raise LoraPerfError(
            expected="halves that differ from the second layer group",
            found=f"none among {listed((one.name for one in pool), 3)}",
            fix="use a zoo of more modules, or leave halves out",
        )
    return halves


def _parameters(modules: frozenset[Module]) -> int:
    return sum(one.up.size + one.down.size for one in modules)
