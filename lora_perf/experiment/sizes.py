"""Fewer adapters to learn from: nested choices of the train rows, as curves of accuracy against their number need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split

DRAWS = 5  # of the adapters of one size, over which intervals go beside seeds and test adapters


def size_names(sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The splits of some numbers of train adapters: each its size and draw.

    >>> size_names([50])
    {'size50.1': (50, 1), 'size50.2': (50, 2), 'size50.3': (50, 3), 'size50.4': (50, 4), 'size50.5': (50, 5)}
    """
    return {f"size{size}.{draw}": (size, draw) for size in sorted(set(sizes)) for draw in range(1, DRAWS + 1)}


def of_size(split: Split, labels: Tensor, size: int, seed: int) -> Split:
    """A split with `size` of the train rows, and as large a share of the validation rows; all test rows.

    Classes have their shares, as far as whole adapters allow. The rows of one seed are nested: a smaller size has none that a
    larger one has not.

    Shapes: labels (n,).
    Raises:
        LoraPerfError: no fewer rows than there are, or a single one.
    """
    count = len(split.train)
    if split.resubstitution or not 2 <= size < count:
        raise LoraPerfError(
            expected=f"--train-sizes from 2 to {count - 1:,}, fewer than the train adapters of this split",
            found=f"{size:,}" if not split.resubstitution else "a zoo too small to be divided",
            fix="change --train-sizes; all train adapters are the last point of the curve anyway",
        )
    of_validation = max(1, round(size * len(split.validation) / count))
    train, validation = (
        _first(rows, labels, most, seed) for rows, most in ((split.train, size), (split.validation, of_validation))
    )
    return replace(split, train=train, validation=validation)


def _first(rows: Tensor, labels: Tensor, count: int, seed: int) -> Tensor:
    """The first `count` of some rows in an order in which every beginning has classes in their shares; ascending."""
    rng = np.random.default_rng(seed)
    of = labels[rows].numpy()
    place = np.empty(len(rows))
    for one in np.unique(of):
        mine = rng.permutation(np.flatnonzero(of == one))
        place[mine] = (np.arange(len(mine)) + rng.random()) / len(mine)
    return rows[torch.from_numpy(np.sort(np.argsort(place, kind="stable")[:count]))]
