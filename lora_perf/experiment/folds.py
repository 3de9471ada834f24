"""Folds of the adapters that are learned from: classes even, groups and copies whole, the test adapters in none of them."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.grouping import dealt
from lora_perf.core.split import Split

FOLDS = 5  # of the adapters that are learned from, each tested once by what the others teach


def learned_folds(split: Split, labels: Tensor, together: Tensor | None, seed: int, count: int = FOLDS) -> list[Tensor]:
    """The train and validation rows of a split in `count` folds, fewer where groups or classes allow no more, each ascending;
    a single one where they cannot be divided, none of a zoo that is too small for parts.

    Shapes: labels (n,); together (n,), equal for rows that stay in one fold.
    """
    if split.resubstitution:
        return []
    learned = torch.cat([split.train, split.validation]).sort().values
    groups = (torch.arange(len(labels)) if together is None else together)[learned].numpy()
    folds = dealt(labels[learned].numpy(), groups, count, seed)
    return [learned[torch.from_numpy(fold)].sort().values for fold in folds]


def inner_folds(split: Split, labels: Tensor, together: Tensor | None, seed: int) -> tuple[Tensor, ...]:
    """The folds by which probes choose their setting; none of a zoo that is too small for parts.

    Raises:
        LoraPerfError: adapters to learn from that are all of one group, or whose groups are whole classes.
    """
    folds = learned_folds(split, labels, together, seed)
    if len(folds) == 1:
        raise _too_few(f"{len(folds[0]):,} of them, all of one group")
    for held in folds:
        rest = torch.cat([one for one in folds if one is not held])
        if len(labels[rest].unique()) < 2 <= len(labels[torch.cat(folds)].unique()):
            raise _too_few("a group that holds all adapters of a class but one class")
    return tuple(folds)


def _too_few(found: str) -> LoraPerfError:
    return LoraPerfError(
        expected="train and validation adapters in two folds or more, with two classes outside of each, for --choose folds",
        found=found,
        fix="use --choose validation, other groups or a larger zoo",
    )
