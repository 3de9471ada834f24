"""What probes read of labels that mean nothing: many permutations at once, and the p value of the true ones among them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.classifiers.coordinates import Floats, few_threads
from lora_perf.classifiers.probes import ALPHAS, CS, METRICS, NEIGHBOURS, logistic
from lora_perf.classifiers.protocol import Examples
from lora_perf.classifiers.scores import gains
from lora_perf.core.target import Task
from lora_perf.core.threads import each_on_a_core

_CHUNK_NBYTES = 256 << 20  # of float64 predictions at a time
_ROUNDING = 1e-9  # of a score, below which two are equal
# Train rows (n_train, d), the targets of b permutations of these (n_train, b, o), other rows (n, d) in parts -> predictions
# (b, n, o) of each part, for each setting, the most regular first.
Said = list[NDArray[np.float64]]
Reader = Callable[[Floats, NDArray[np.float64], Sequence[Floats]], Iterator[Said]]


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


def _ridge(x: Floats, targets: NDArray[np.float64], parts: Sequence[Floats]) -> Iterator[Said]:
    """All permutations are right sides of one system of equations for each alpha."""
    from scipy.linalg import cho_factor, cho_solve

    n, count, outputs = targets.shape
    centre, means = x.mean(axis=0), targets.mean(axis=0)
    train = x - centre
    right = train.T @ (targets - means).reshape(n, -1)
    gram = train.T @ train
    for alpha in ALPHAS:
        weights = cho_solve(cho_factor(gram + alpha * np.eye(len(gram))), right)
        products = ((rows - centre) @ weights for rows in parts)
        yield [one.reshape(-1, count, outputs).swapaxes(0, 1) + means[:, None] for one in products]


def _knn(x: Floats, targets: NDArray[np.float64], parts: Sequence[Floats]) -> Iterator[Said]:
    """Neighbours do not depend on labels: they are looked up once for each metric."""
    from sklearn.neighbors import NearestNeighbors

    most = min(NEIGHBOURS[0], len(x))
    found = {
        metric: [
            NearestNeighbors(n_neighbors=most, metric=metric, algorithm="brute").fit(x).kneighbors(rows)[1] for rows in parts
        ]
        for metric in METRICS
    }
    for k in (k for k in NEIGHBOURS if k <= len(x)):
        for metric in METRICS:
            yield [_means(targets, places[:, :k]) for places in found[metric]]


def _means(targets: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """(b, n, o) means of the targets of neighbours (n, k)."""
    total = np.zeros((len(places), *targets.shape[1:]))
    for column in places.T:
        total += targets[column]
    means: NDArray[np.float64] = (total / places.shape[1]).swapaxes(0, 1)
    return means


def _logistic(x: Floats, targets: NDArray[np.float64], parts: Sequence[Floats]) -> Iterator[Said]:
    """One permutation after another, on each core: all at once, by L-BFGS from the ends of the last penalty, took longer."""
    _, count, outputs = targets.shape
    named: list[list[list[NDArray[np.int64]]]] = [[]] * count

    def fit(b: int) -> None:
        y = targets[:, b].argmax(axis=1)
        if (y == y[0]).all():  # nothing to tell apart
            named[b] = [[np.full(len(rows), y[0]) for rows in parts]] * len(CS)
        else:
            named[b] = [[one.predict(rows) for rows in parts] for _, one in logistic(x, y)]

    with warnings.catch_warnings(), few_threads(0):  # the filters of warnings, which threads would leave to each other
        each_on_a_core(fit, count)
    for setting in zip(*named, strict=True):
        yield [np.equal(np.stack(part)[..., None], np.arange(outputs)) * 1.0 for part in zip(*setting, strict=True)]


READERS: dict[str, Reader] = {"ridge": _ridge, "knn": _knn, "logistic": _logistic}


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
    split = examples.split
    rows = torch.cat([split.train, split.validation, split.test]).unique()
    place = torch.empty(len(labels), dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    known = labels[rows.to(labels.device)].cpu().numpy()
    targets = _targets(known, outputs, task)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(rows)) for _ in range(count)], axis=1)
    at_once = max(1, _CHUNK_NBYTES // (8 * targets.shape[1] * (len(split.train) + len(split.test))))
    scores = []
    with few_threads(examples.coordinates.train.size):
        for some in np.split(orders, range(at_once, count, at_once), axis=1):
            labelled = _Permutations(READERS[name], known, targets, place, some, task)
            scores.append(labelled.by_folds(examples) if examples.folds else labelled.by_validation(examples))
    found = np.concatenate(scores)
    above = int((found >= score - _ROUNDING).sum())
    return Permuted(count, float(found.mean()), (1 + above) / (count + 1))


@dataclass(frozen=True, eq=False)
class _Permutations:
    """Some permutations of the labels of the rows of a split, and what a probe scores with them.

    Shapes: known (m, ...), targets (m, o) of the m rows; place (n,) of each row of the zoo among them; orders (m, b).
    """

    reader: Reader
    known: NDArray[Any]
    targets: Floats
    place: Tensor
    orders: NDArray[np.int64]
    task: Task

    def by_validation(self, examples: Examples) -> Floats:
        """(b,) scores of the test rows with the settings that are best on the validation rows."""
        split, x = examples.split, examples.coordinates
        truths = [self._truth(rows) for rows in (split.validation, split.test)]
        best = np.full(self.orders.shape[1], -np.inf)
        reached = np.zeros(self.orders.shape[1])
        for said in self._said(x.train, split.train, (x.validation, x.test)):
            chosen_by, tested = (_scores(one, true, self.task) for one, true in zip(said, truths, strict=True))
            better = chosen_by > best
            best, reached = np.where(better, chosen_by, best), np.where(better, tested, reached)
        return reached

    def by_folds(self, examples: Examples) -> Floats:
        """The same with the settings that say most of the rows of all folds."""
        truths, said = [], []
        for split, fold in examples.folded():
            truths.append(self._truth(split.validation))
            said.append([one for (one,) in self._said(fold.train, split.train, (fold.validation,))])
        truth = np.concatenate(truths, axis=1)
        settings = min(map(len, said))  # of few rows those of many neighbours, the first, are not there
        scores = [
            _scores(np.concatenate(parts, axis=1), truth, self.task)
            for parts in zip(*(of_fold[-settings:] for of_fold in said), strict=True)
        ]
        split, x = examples.fitted_split, examples.coordinates
        of_test = self._truth(split.test)
        tested = [_scores(one, of_test, self.task) for (one,) in self._said(x.train, split.train, (x.test,))][-settings:]
        best = np.argmax(np.stack(scores), axis=0)[None]
        return np.asarray(np.take_along_axis(np.stack(tested), best, axis=0)[0])

    def _said(self, train: Floats, rows: Tensor, parts: Sequence[Floats]) -> Iterator[Said]:
        """What each setting makes of other rows: of classes (b, n) which, else (b, n, o)."""
        targets = self.targets[self.orders[self.place[rows].numpy()]]
        present = (targets > 0).any(axis=0)[:, None]  # a class without a train row is never named
        for said in self.reader(train, targets, parts):
            if self.task == "classes":
                yield [np.where(present, one, -np.inf).argmax(axis=2) for one in said]
            else:
                yield [one[..., 0] if self.task == "numbers" else one for one in said]

    def _truth(self, rows: Tensor) -> NDArray[Any]:
        """(b, n) or (b, n, l) what each permutation says of some rows."""
        return np.asarray(self.known[self.orders[self.place[rows].numpy()]].swapaxes(0, 1))


def _targets(known: NDArray[Any], outputs: int, task: Task) -> Floats:
    """(n, o) float64: an indicator a class, 1 or -1, or the numbers themselves."""
    if task == "classes":
        return np.where(known[:, None] == np.arange(outputs), 1.0, -1.0)
    return np.asarray(known, np.float64).reshape(len(known), -1)


def _scores(said: NDArray[Any], truth: NDArray[Any], task: Task) -> Floats:
    """(b,) scores of what was said of the rows of b permutations, beside the truth of each."""
    return np.array([gains(task, one[None], true).mean() for one, true in zip(said, truth, strict=True)])
