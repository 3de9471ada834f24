"""Train, validation and test parts of a zoo, as vectors of row indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.grouping import grouped_parts, joined, one_sided

SplitMethod = Literal["auto", "zoo", "stratified", "original"]
SplitKind = Literal["zoo", "stratified", "original", "grouped", "tiny", "transfer"]
Indices = NDArray[np.int64]

# The recipe of the original study: 30 % are held out, and 67 % of those are for the test (70 / 9.9 / 20.1 %).
_HELD_OUT = 0.3
_TEST_OF_HELD_OUT = 0.67
_TINY = 10  # so few adapters cannot be divided; such zoos only show that a program runs
_MOST_SEED = 1 << 32
SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows of a zoo are for training, validation and testing; no part is empty.

    Attributes:
        train, validation, test: (n_part,) int64 row indices.
        kind: how the parts were made.
        resubstitution: the three parts are the same rows, so an accuracy says nothing about new adapters.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    kind: SplitKind
    resubstitution: bool = False


def make_split(
    labels: Tensor,
    classes: Sequence[str],
    own: Tensor | None = None,
    method: SplitMethod = "auto",
    seed: int = 42,
    *,
    groups: Tensor | None = None,
    copies: Tensor | None = None,
) -> Split:
    """The split of a zoo.

    `zoo` is the zoo's own split; where that has no validation rows, they are taken from its train rows by class.
    `stratified` divides each class 70 / 9.9 / 20.1 %. `original` gives the very rows, in the very order, of
    `train_test_split(test_size=0.3, seed=seed)` of `datasets` and of a second one (0.67) of its test part.
    `auto` is `zoo` where there is one, else `stratified`; with groups both are `grouped`: no group stands in two parts (see
    `grouped_parts`). Copies stay together wherever rows are chosen here, those of `zoo` and `original` are given. Zoos of ten
    adapters or fewer are not divided.

    Shapes: labels (n,), own (n,) of 0 train, 1 validation, 2 test; groups, copies (n,), equal within a group.
    Raises:
        LoraPerfError: an unknown method, no split in the zoo, an empty part, a class too small to be divided, or groups that
            cannot be.
    """
    if method not in get_args(SplitMethod):
        raise LoraPerfError(
            expected=f"a split method ({listed(get_args(SplitMethod))})", found=repr(method), fix="choose one of these"
        )
    n = len(labels)
    if n <= _TINY:
        rows = torch.arange(n)
        return Split(rows, rows, rows, "tiny", resubstitution=True)
    y = labels.to("cpu", torch.int64).numpy()
    if method == "zoo" and own is None:
        raise LoraPerfError(
            expected="a zoo with a split of its own", found="none", fix="choose the method stratified or original"
        )
    kind: SplitKind
    if groups is not None and method in ("auto", "stratified"):
        together = groups if copies is None else joined(groups, copies)
        kind, parts = "grouped", grouped_parts(y, classes, together.cpu().numpy(), seed)
    elif own is not None and method in ("auto", "zoo"):
        kind, parts = "zoo", _own(y, classes, own.cpu().numpy(), seed)
    elif method == "original":
        kind, parts = "original", _original(n, seed)
    else:
        kind, parts = "stratified", _stratified(y, classes, seed)
        parts = parts if copies is None else one_sided(parts, copies.cpu().numpy())
    empty = [name for name, part in zip(("train", "validation", "test"), parts, strict=True) if len(part) == 0]
    if empty:
        raise LoraPerfError(
            expected="at least one adapter in each part of the split",
            found=f"no {listed(empty)} rows among {n} adapters ({kind})",
            fix="use a larger zoo or another split method",
        )
    train, validation, test = (torch.from_numpy(part) for part in parts)
    return Split(train, validation, test, kind)


def refuse_seeds(seed: int, runs: int) -> None:
    """Refuses seeds that NumPy, PyTorch or scikit-learn do not take: below 0 or beyond 32 bits."""
    if not 0 <= seed <= _MOST_SEED - runs:
        raise LoraPerfError(expected=f"--seed from 0 to {_MOST_SEED - runs}", found=str(seed), fix="change --seed")


def refuse_unlearnable(labels: Tensor, classes: Sequence[str], split: Split) -> None:
    """Refuses a single class, of all adapters or of those to train on, and a single test adapter: they would say nothing."""
    for rows, of_whom, fix in (
        (torch.arange(len(labels)), "adapters", "put each class into a folder of its own, or name the column of the labels"),
        (split.train, "train adapters", "use a larger zoo or another split"),
    ):
        present = labels[rows].unique().tolist()
        if len(present) < 2:
            raise LoraPerfError(
                expected="at least two classes, which a classifier could tell apart",
                found=f"one class ({listed(classes[c] for c in present)}) of all {len(rows):,} {of_whom}",
                fix=fix,
            )
    if len(split.test) < 2:
        raise LoraPerfError(
            expected="at least two test adapters", found=f"one ({split.kind} split)", fix="use a larger zoo or another split"
        )


def absent_classes(labels: Tensor, classes: Sequence[str], rows: Tensor) -> list[str]:
    """The classes that have an adapter, but none among some rows."""
    return [classes[c] for c in sorted(set(labels.tolist()) - set(labels[rows].tolist()))]


def _original(n: int, seed: int) -> tuple[Indices, Indices, Indices]:
    n_held = ceil(_HELD_OUT * n)
    order = np.random.default_rng(seed).permutation(n)
    held, train = order[:n_held], order[n_held:]
    n_test = ceil(_TEST_OF_HELD_OUT * n_held)
    again = np.random.default_rng(seed).permutation(n_held)
    return train, held[again[n_test:]], held[again[:n_test]]


def _stratified(y: Indices, classes: Sequence[str], seed: int) -> tuple[Indices, Indices, Indices]:
    """Ascending rows of each part; every class has a train and a test row, and a validation row where it has three."""
    present, sizes = np.unique(y, return_counts=True)
    if sizes.min() < 2:
        raise LoraPerfError(
            expected="at least two adapters of every class, one to train on and one to test",
            found=f"a single one of {listed(classes[c] for c in present[sizes < 2])}",
            fix="add adapters of this class or leave it out",
        )
    n_held = ceil(_HELD_OUT * len(y))
    n_test = ceil(_TEST_OF_HELD_OUT * n_held)
    tests = _shares(n_test, sizes, np.ones_like(sizes), sizes - 1)
    validations = _shares(n_held - n_test, sizes, np.minimum(1, sizes - tests - 1), sizes - tests - 1)
    rng = np.random.default_rng(seed)
    parts: tuple[list[Indices], list[Indices], list[Indices]] = ([], [], [])
    for c, n_c_test, n_c_validation in zip(present, tests, validations, strict=True):
        rows = rng.permutation(np.flatnonzero(y == c))
        for part, chosen in zip(parts, np.split(rows, [-n_c_test - n_c_validation, -n_c_test]), strict=True):
            part.append(chosen)
    train, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, validation, test


def _own(y: Indices, classes: Sequence[str], own: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    train, validation, test = (np.flatnonzero(own == code) for code in range(3))
    absent = np.setdiff1d(y, y[train])
    if len(train) and len(absent):
        raise LoraPerfError(
            expected="train rows of every class in the zoo's own split",
            found=f"none of {listed(classes[c] for c in absent)}",
            fix="choose the method stratified, or leave the class out",
        )
    if len(train) and len(validation) == 0:
        present, sizes = np.unique(y[train], return_counts=True)
        share = (1 - _TEST_OF_HELD_OUT) * _HELD_OUT / (1 - _TEST_OF_HELD_OUT * _HELD_OUT)
        counts = _shares(ceil(share * len(train)), sizes, np.zeros_like(sizes), sizes - 1)
        rng = np.random.default_rng(seed)
        taken = [rng.permutation(train[y[train] == c])[:count] for c, count in zip(present, counts, strict=True)]
        validation = np.sort(np.concatenate(taken))
        train = np.setdiff1d(train, validation)
    return train, validation, test


def _shares(total: int, sizes: Indices, low: Indices, high: Indices) -> Indices:
    """How many of `total` each class gives: in proportion to its size, by largest remainder, within its bounds."""
    quota = total * sizes / sizes.sum()
    counts: Indices = np.clip(np.floor(quota).astype(np.int64), low, high)
    while counts.sum() < total and (counts < high).any():
        counts[np.argmax(np.where(counts < high, quota - counts, -np.inf))] += 1
    return counts
