"""Layers one by one: single modules, ranked without the test adapters; the best of them, all but these, and any others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layer, Layout
from lora_perf.core.split import Split
from lora_perf.experiment.folds import learned_folds
from lora_perf.report.parts import BEST, DRAWN, MODULE, WITHOUT, counts_of

DRAWS = 5  # of as many modules as are kept, whichever they are
_TENTHS = 10


def modules_of(layers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    """The layers of each module of a group, under the names of their cells.

    Raises:
        LoraPerfError: a single module.
    """
    found: dict[str, tuple[Layer, ...]] = {}
    for layer in layers:
        found[f"{MODULE}{layer.module}"] = (*found.get(f"{MODULE}{layer.module}", ()), layer)
    if len(found) < 2:
        raise LoraPerfError(
            expected="a first layer group of several modules for --layers each",
            found=f"{layers[0].module} alone",
            fix="choose another --layer-groups, or leave --layers out",
        )
    return found


def folds_of(split: Split, labels: Tensor, together: Tensor | None, seed: int) -> list[Split]:
    """Splits of the train and validation rows alone, in each of which another fifth is tested and a tenth validated on.

    Shapes: labels (n,); together (n,), equal for rows that stay on one side.
    Raises:
        LoraPerfError: too few rows, or groups of them.
    """
    parts = learned_folds(split, labels, together, seed, _TENTHS)
    if len(parts) < 3:
        raise LoraPerfError(
            expected="adapters to learn from that can be divided in three, for --layers each",
            found=f"{len(split.train) + len(split.validation):,} train and validation adapters",
            fix="use a larger zoo, other groups, or leave --layers out",
        )
    width = 2 if len(parts) == _TENTHS else 1
    found = []
    for first in range(0, len(parts), width):
        tested = [*range(first, first + width)]
        validated = (first + width) % len(parts)
        rest = [part for place, part in enumerate(parts) if place not in (*tested, validated)]
        train, validation, test = (
            torch.cat(rows).sort().values for rows in (rest, [parts[validated]], [parts[place] for place in tested])
        )
        found.append(Split(train, validation, test, split.kind))
    return found


def further_groups(
    layout: Layout, modules: Mapping[str, tuple[Layer, ...]], order: Sequence[str], seed: int
) -> Iterator[tuple[str, tuple[Layer, ...]]]:
    """Groups of several modules: the best by an order, all but these, and as many drawn at random.

    Args:
        order: names of `modules`, the best first.
    """
    drawn = [np.random.default_rng([seed, draw]).permutation(sorted(modules)).tolist() for draw in range(DRAWS)]

    def layers(names: Sequence[str]) -> tuple[Layer, ...]:
        chosen = {layer for name in names for layer in modules[name]}
        return tuple(layer for layer in layout if layer in chosen)

    for count in counts_of(len(modules)):
        yield f"{BEST}{count}", layers(order[:count])
        yield f"{WITHOUT}{count}", layers(order[count:])
        for draw, names in enumerate(drawn):
            yield f"{DRAWN}{count}.{draw + 1}", layers(names[:count])


def further_names(count: int) -> list[str]:
    """The names of these groups of `count` modules."""
    names = [f"{kind}{kept}" for kept in counts_of(count) for kind in (BEST, WITHOUT)]
    return names + [f"{DRAWN}{kept}.{draw + 1}" for kept in counts_of(count) for draw in range(DRAWS)]
