"""Probes: ridge, logistic regression and nearest neighbours on standardised features.

What a simple reader finds beside the perceptron. Each is deterministic: its setting is the best of a small grid on the
validation rows, its fit is on the train rows alone.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.split import Split

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Setting = dict[str, float | int | str]
# A search yields (setting, fitted estimator), the most regular first: the first of several equally good ones is taken.
Search = Callable[[Floats, Labels], Iterator[tuple[Setting, Any]]]

# Of min(train rows, features). The eigenvectors of 10,000 rows take some minutes and 2.4 GB, those of 20,000 half an hour.
MOST_DIMENSIONS = 10_000
_CHUNK_NBYTES = 64 << 20  # of float64 columns at a time
# Coordinates are scaled so that the mean square of a dimension, summed over the train rows, is 1: in these units the
# grids reach from hardly any penalty to one that leaves the class means alone, whatever the number of features.
_ALPHAS = (1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4)
_CS = (1e-1, 1e0, 1e1, 1e2, 1e3)
_NEIGHBOURS = (20, 10, 5, 3, 1)
_METRICS = ("cosine", "euclidean")
_MOST_ITERATIONS = 200  # of Newton's method, which took at most 10 on the embedded zoos
_SMALL = 10_000_000  # entries below which a second thread costs more than it gains: ten times more on a busy machine

PROBES: dict[str, Search] = {}


def _probe(name: str) -> Callable[[Search], Search]:
    """Enters a search over a grid under its name."""

    def enter(search: Search) -> Search:
        PROBES[name] = search
        return search

    return enter


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Standardised features of the parts of a split, in at most as many dimensions as there are train rows.

    Attributes:
        train, validation, test: (n_part, d) float64, d = min(f, rank of the train rows).
        dropped: the columns that were constant on the train rows.
    """

    train: Floats
    validation: Floats
    test: Floats
    dropped: Tensor


@dataclass(frozen=True, eq=False)
class Probed:
    """What a probe came to.

    Attributes:
        predictions: (n_test,), in the order of the split's test rows.
        validation_accuracy: of the chosen setting.
        setting: what was chosen; penalties in the units of `Coordinates`.
        seconds: of search and prediction.
    """

    predictions: Labels
    validation_accuracy: float
    setting: Setting
    seconds: float


def coordinates(values: Tensor, split: Split) -> Coordinates:
    """Features as probes see them: standardised by the train rows, rotated where they are wider than these are many.

    With f > n_train the train rows X span at most n_train dimensions. A penalty on the squared weights keeps the weights
    in that span, and a part of another row outside of it is equally far from every train row; so the coordinates within
    the span, (K U) S^-1 with the eigenvectors U and eigenvalues S^2 of the Gram matrix X X^T and the products K of all
    rows with X, give ridge, logistic regression and the order of neighbours the very results of the features themselves.

    Shapes: values (n, f).
    Cost: f <= n_train: one copy in float64. Else 2 n n_train f flops and the eigenvectors of (n_train, n_train), in float64;
        features are read in chunks of columns of 64 MiB.
    Raises:
        LoraPerfError: values that are not finite, no column that varies, more than MOST_DIMENSIONS dimensions.
    """
    standardiser = Standardiser.fit(values, split.train)
    n_train, f = len(split.train), len(standardiser.kept)
    refuse_too_many(n_train, f)
    if f <= n_train:
        x = torch.cat(list(_standardised(values, standardiser)), dim=1).cpu()
        train, validation, test = (x[rows] for rows in (split.train, split.validation, split.test))
    else:
        device = values.device
        products = torch.zeros((len(values), n_train), dtype=torch.float64, device=device)
        for chunk in _standardised(values, standardiser):
            products.addmm_(chunk, chunk[split.train.to(device)].mT)
        products = products.cpu()
        squares, vectors = _eigenvectors(products[split.train])
        inside = squares > squares[-1] * n_train * torch.finfo(torch.float64).eps
        roots, vectors = squares[inside].sqrt(), vectors[:, inside]
        train = vectors * roots
        validation, test = (products[rows] @ (vectors / roots) for rows in (split.validation, split.test))
    unit = max(n_train, f) ** 0.5
    train, validation, test = (part.numpy() / unit for part in (train, validation, test))
    return Coordinates(train, validation, test, standardiser.dropped)


def refuse_too_many(n_train: int, f: int) -> None:
    """Raises LoraPerfError where probes of f features on n_train rows would take hours and tens of gigabytes."""
    if min(n_train, f) > MOST_DIMENSIONS:
        raise LoraPerfError(
            expected=f"at most {MOST_DIMENSIONS:,} train rows or features for {listed(PROBES)}",
            found=f"{n_train:,} train rows of {f:,} features",
            fix="use the classifier mlp for these, a representation of fewer features or fewer layers",
        )


def fit(name: str, x: Coordinates, labels: Tensor, split: Split) -> Probed:
    """The best of the probe's grid on the validation rows, and its predictions of the test rows.

    Args:
        name: a key of PROBES.
        x: the features of the same split.

    Shapes: labels (n,).
    Raises:
        LoraPerfError: an unknown probe, train rows of a single class.
    """
    if name not in PROBES:
        raise LoraPerfError(expected=f"a probe ({listed(PROBES)})", found=repr(name), fix="choose among these")
    y, y_validation = (labels[rows.to(labels.device)].cpu().numpy() for rows in (split.train, split.validation))
    if len(np.unique(y)) < 2:
        raise LoraPerfError(
            expected="train adapters of two classes or more", found="a single class", fix="use a larger zoo or another split"
        )
    begin = time.perf_counter()
    best: tuple[float, Setting, Labels] | None = None
    with _few_threads(x.train.size):
        for setting, fitted in PROBES[name](x.train, y):
            accuracy = float(np.mean(fitted.predict(x.validation) == y_validation))
            if best is None or accuracy > best[0]:
                best = accuracy, setting, fitted.predict(x.test)
    assert best is not None  # no grid is empty
    accuracy, setting, predictions = best
    return Probed(predictions.astype(np.int64), accuracy, setting, time.perf_counter() - begin)


@_probe("ridge")
def ridge(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """Ridge regression of one indicator a class; the normal equations are solved in the smaller of their two forms."""
    from sklearn.linear_model import RidgeClassifier

    for alpha in _ALPHAS:
        yield {"alpha": alpha}, RidgeClassifier(alpha=alpha, solver="cholesky").fit(x, y)


@_probe("logistic")
def logistic(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """Multinomial logistic regression with an L2 penalty; each fit begins where the one of the next larger penalty ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cg", tol=1e-6, max_iter=_MOST_ITERATIONS, warm_start=True)
    for c in _CS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=c).fit(x, y)
        if max(model.n_iter_) >= _MOST_ITERATIONS:
            log.info("logistic regression with C = %g did not converge in %d iterations", c, _MOST_ITERATIONS)
        yield {"C": c}, model


@_probe("knn")
def knn(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """The commonest class among the k nearest train rows."""
    from sklearn.neighbors import KNeighborsClassifier

    for k, metric in product(_possible(_NEIGHBOURS, len(x)), _METRICS):
        yield {"k": k, "metric": metric}, KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(x, y)


def _few_threads(size: int) -> AbstractContextManager[object]:
    """One thread for the matrix products of small work inside the block, all of them for larger work."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # a part of scikit-learn's installation

    return threadpool_limits(1) if size < _SMALL else nullcontext()


def _eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    with _few_threads(matrix.numel()):
        values, vectors = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(values), torch.from_numpy(vectors)


def _possible(neighbours: Sequence[int], n_train: int) -> list[int]:
    return [k for k in neighbours if k <= n_train]


def _standardised(values: Tensor, standardiser: Standardiser) -> Iterator[Tensor]:
    """Chunks of columns (n, step) in float64, standardised."""
    kept, mean, scale = standardiser.kept, standardiser.mean, standardiser.scale
    step = max(1, _CHUNK_NBYTES // (8 * len(values)))
    for start in range(0, len(kept), step):
        part = slice(start, start + step)
        columns = values.index_select(1, kept[part]).to(torch.float64)
        yield columns.sub_(mean[part]).div_(scale[part])
