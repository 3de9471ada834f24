"""Groups of adapters that belong together, of one creator or copies of each other, and splits that keep them on one side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed

Indices = NDArray[np.int64]

_FOLDS = 10  # of which two are tested and one is validated on


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which adapters belong together.

    Attributes:
        name: of the column that says so.
        of: (n,) int64, the group of each adapter, from 0 on.
        names: of the groups.
    """

    name: str
    of: Tensor
    names: Sequence[str]

    @classmethod
    def by(cls, name: str, values: Sequence[Any]) -> Grouping:
        """The groups of equal values.

        Raises:
            LoraPerfError: values that are lists or the like.
        """
        several = next((value for value in values if isinstance(value, list | tuple | set | dict)), None)
        if several is not None:
            raise LoraPerfError(
                expected=f"one value of {name} for each adapter, its group",
                found=f"{type(several).__name__}s, as {several!r:.40}",
                fix="choose a column of single values for the groups",
            )
        known: dict[Any, int] = {}
        of = [known.setdefault(value, len(known)) for value in values]
        return cls(name, torch.tensor(of, dtype=torch.int64), [str(value) for value in known])


def joined(of: Tensor, also: Tensor) -> Tensor:
    """(n,) the finest groups in which those of two groupings (n,) are whole."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, shift = len(of), int(of.max()) + 1
    left, right = of.numpy(), also.numpy() + shift
    size = int(right.max()) + 1
    links = coo_array((np.ones(n, np.int8), (left, right)), shape=(size, size))
    _, found = connected_components(links, directed=False)
    return torch.from_numpy(np.unique(found[left], return_inverse=True)[1].astype(np.int64))


def grouped_parts(y: Indices, classes: Sequence[str], groups: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    """Train, validation and test rows, about 70, 10 and 20 %, no group in two of them, classes as even as groups allow.

    Groups are dealt as `StratifiedGroupKFold` of scikit-learn deals them. A group that is all of some class is trained on:
    nothing else could say what that class is.

    Shapes: y, groups (n,).
    Raises:
        LoraPerfError: fewer than three groups, or a group for every class, so that no class could be learned and tested.
    """
    count = len(np.unique(groups))
    if count < 3:
        raise LoraPerfError(
            expected="at least three groups: one to train on, one to validate and one to test",
            found=f"{count} among {len(y):,} adapters",
            fix="choose another column for the groups, or leave it out",
        )
    alone = _alone(y, groups)
    if len(np.unique(y)) > 1 and len(np.setdiff1d(y, [c for c, _ in alone])) == 0:
        raise LoraPerfError(
            expected="classes with adapters of several groups, so that one is learned from some groups and tested on others",
            found=f"a single group in each class ({listed(classes[c] for c, _ in alone)})",
            fix="choose another column for the groups or for the labels",
        )
    kept = np.isin(groups, [group for _, group in alone])
    free = np.flatnonzero(~kept)
    left = len(np.unique(groups[free]))
    if left < 2 or (left < 3 and not kept.any()):
        raise LoraPerfError(
            expected="at least two groups that are not all of a class, one to validate and one to test",
            found=f"{left} of {count}",
            fix="choose another column for the groups or for the labels",
        )
    folds = dealt(y[free], groups[free], _FOLDS, seed)
    among = len(folds)
    tested = max(1, round(0.2 * among))
    test, validation = np.concatenate(folds[:tested]), folds[tested]
    held = np.concatenate([test, validation])
    train = np.setdiff1d(np.arange(len(y)), free[held])
    return train, np.sort(free[validation]), np.sort(free[test])


def _alone(y: Indices, groups: Indices) -> list[tuple[int, int]]:
    """(class, group) of the classes all of whose adapters are of one group."""
    pairs = np.unique(np.stack([y, groups], axis=1), axis=0)
    present, counts = np.unique(pairs[:, 0], return_counts=True)
    single = set(present[counts == 1].tolist())
    return [(c, group) for c, group in pairs.tolist() if c in single]


def dealt(y: Indices, groups: Indices, count: int, seed: int) -> list[Indices]:
    """Rows of each of `count` folds, fewer where classes or groups allow no more; none is empty.

    Shapes: y, groups (n,); a group is in one fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    among = len(np.unique(groups))
    if among < 2:
        return [np.arange(len(y))]
    count = max(2, min(count, among, int(np.unique(y, return_counts=True)[1].max())))
    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer adapters than there are folds
        folds = [test.astype(np.int64) for _, test in dealer.split(np.zeros(len(y)), y, groups)]
    folds = [fold for fold in folds if len(fold)]
    if len(folds) < min(3, among):  # a few groups of very uneven classes: one fold a group
        names = np.random.default_rng(seed).permutation(np.unique(groups))
        folds = [np.flatnonzero(groups == name) for name in names]
    return folds


def one_sided(parts: tuple[Indices, Indices, Indices], copies: Indices) -> tuple[Indices, Indices, Indices]:
    """Parts in which no copies of each other stand in two: those that do are all trained on, in the order of their rows.

    Shapes: copies (n,), equal for copies of each other.
    """
    part = np.full(len(copies), -1)
    for number, rows in enumerate(parts):
        part[rows] = number
    lowest = np.full(int(copies.max()) + 1, 3)
    np.minimum.at(lowest, copies[part >= 0], part[part >= 0])
    moved = (part >= 0) & (lowest[copies] < part)
    if not moved.any():
        return parts
    train, validation, test = (np.flatnonzero((part == number) & ~moved) for number in range(3))
    to = lowest[copies[moved]]
    rows = np.flatnonzero(moved)
    return np.sort(np.concatenate([train, rows[to == 0]])), np.sort(np.concatenate([validation, rows[to == 1]])), test
