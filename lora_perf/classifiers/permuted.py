"""What probes read of labels that mean nothing: many permutations at once, and the p value of the true ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.classifiers.coordinates import Coordinates, Floats, few_threads
from lora_perf.classifiers.probes import ALPHAS, METRICS, NEIGHBOURS
from lora_perf.classifiers.protocol import Examples
from lora_perf.classifiers.scores import gains
from lora_perf.core.target import Task

_CHUNK_NBYTES = 256 << 20  # of float64 predictions at a time
_ROUNDING = 1e-9  # of a score, below which two are equal
# The targets of b permutations of the train rows (n_train, b, o) -> predictions (b, n, ...) of validation and of test rows, one
# pair for each setting, the most regular first.
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
Reader = Callable[[Coordinates, NDArray[np.float64]], Iterator[Pair]]


@dataclass(frozen=True)
class Permuted:
    """Scores of permuted labels.

    Attributes:
        count: of permutations.
        mean: their mean score.
        p: the share of them, and of the true labels, that score at least what the true labels do: one-sided.
    """

    count: int
    mean: float
    p: float


def _ridge(x: Coordinates, targets: NDArray[np.float64]) -> Iterator[Pair]:
    """All permutations are right sides of one system of equations for each alpha."""
    from scipy.linalg import cho_factor, cho_solve

    n, count, outputs = targets.shape
    centre, means = x.train.mean(axis=0), targets.mean(axis=0)
    train = x.train - centre
    right = train.T @ (targets - means).reshape(n, -1)
    gram = train.T @ train
    for alpha in ALPHAS:
        weights = cho_solve(cho_factor(gram + alpha * np.eye(len(gram))), right)
        parts = ((rows - centre) @ weights for rows in (x.validation, x.test))
        validation, test = (part.reshape(-1, count, outputs).swapaxes(0, 1) + means[:, None] for part in parts)
        yield validation, test


def _knn(x: Coordinates, targets: NDArray[np.float64]) -> Iterator[Pair]:
    """Neighbours do not depend on labels: they are looked up once for each metric."""
    from sklearn.neighbors import NearestNeighbors

    most = min(NEIGHBOURS[0], len(x.train))
    found = {
        metric: [
            NearestNeighbors(n_neighbors=most, metric=metric, algorithm="brute").fit(x.train).kneighbors(rows)[1]
            for rows in (x.validation, x.test)
        ]
        for metric in METRICS
    }
    for k in (k for k in NEIGHBOURS if k <= len(x.train)):
        for metric in METRICS:
            validation, test = (_means(targets, places[:, :k]) for places in found[metric])
            yield validation, test


def _means(targets: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """(b, n, o) means of the targets of neighbours (n, k)."""
    total = np.zeros((len(places), *targets.shape[1:]))
    for column in places.T:
        total += targets[column]
    means: NDArray[np.float64] = (total / places.shape[1]).swapaxes(0, 1)
    return means


READERS: dict[str, Reader] = {"ridge": _ridge, "knn": _knn}


def permuted(
    name: str, examples: Examples, labels: Tensor, outputs: int, task: Task, score: float, count: int, seed: int
) -> Permuted:
    """Scores on the test rows of a probe that learned permuted labels, its setting chosen anew for each permutation.

    The labels of all rows of the split are permuted together, since they could as well be one another's if they had nothing to
    do with the features (Ojala, Garriga 2010). The p value counts the true labels as one of the permutations (Phipson, Smyth
    2010), so that it is at least 1 / (count + 1).

    Shapes: labels (n,) or (n, l).
    Args:
        name: a key of READERS.
        score: what the probe scores with the true labels.
    """
    split, x = examples.split, examples.coordinates
    rows = torch.cat([split.train, split.validation, split.test]).unique()
    place = torch.empty(len(labels), dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    train, validation, test = (place[part].numpy() for part in (split.train, split.validation, split.test))
    known = labels[rows.to(labels.device)].cpu().numpy()
    targets = _targets(known, outputs, task)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(rows)) for _ in range(count)], axis=1)
    at_once = max(1, _CHUNK_NBYTES // (8 * targets.shape[1] * (len(split.train) + len(split.test))))
    scores = []
    with few_threads(x.train.size):
        for some in np.split(orders, range(at_once, count, at_once), axis=1):
            of_train = targets[some[train]]
            truths = [known[some[part]].swapaxes(0, 1) for part in (validation, test)]
            present = (of_train > 0).any(axis=0)[:, None] if task == "classes" else None
            best = np.full(some.shape[1], -np.inf)
            reached = np.zeros(some.shape[1])
            for said in READERS[name](x, of_train):
                of_validated, of_tested = (_scores(one, true, task, present) for one, true in zip(said, truths, strict=True))
                better = of_validated > best
                best, reached = np.where(better, of_validated, best), np.where(better, of_tested, reached)
            scores.append(reached)
    found = np.concatenate(scores)
    above = int((found >= score - _ROUNDING).sum())
    return Permuted(count, float(found.mean()), (1 + above) / (count + 1))


def _targets(known: NDArray[Any], outputs: int, task: Task) -> Floats:
    """(n, o) float64: an indicator a class, 1 or -1, or the numbers themselves."""
    if task == "classes":
        return np.where(known[:, None] == np.arange(outputs), 1.0, -1.0)
    return np.asarray(known, np.float64).reshape(len(known), -1)


def _scores(said: Floats, truth: NDArray[Any], task: Task, present: NDArray[np.bool_] | None) -> Floats:
    """(b,) scores of what was said (b, n, o), beside the truth of each permutation, (b, n) or (b, n, l)."""
    if present is not None:  # a class without a train row is never named
        said = np.where(present, said, -np.inf).argmax(axis=2)
    elif task == "numbers":
        said = said[..., 0]
    return np.array([gains(task, one[None], true).mean() for one, true in zip(said, truth, strict=True)])
