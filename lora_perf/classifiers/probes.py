"""Probes: ridge, logistic regression and nearest neighbours on standardised features.

What a simple reader finds beside the perceptron. Each is deterministic: its setting is the best of a small grid on the
validation rows, its fit is on the train rows alone; or both over folds of these and those (`Examples.folds`).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from lora_perf.classifiers.coordinates import Floats
from lora_perf.classifiers.protocol import CLASSIFIERS, Setting
from lora_perf.classifiers.searched import Labels, Search, Searched

log = logging.getLogger(__name__)

# Coordinates are scaled so that the mean square of a dimension, summed over the train rows, is 1: in these units the
# grids reach from hardly any penalty to one that leaves the class means alone, whatever the number of features.
ALPHAS = (1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4)
CS = (1e-1, 1e0, 1e1, 1e2, 1e3)
NEIGHBOURS = (20, 10, 5, 3, 1)
METRICS = ("cosine", "euclidean")
_MOST_ITERATIONS = 200  # of Newton's method, which took at most 10 on the embedded zoos


def _probe(name: str, about: str, targets: tuple[str, ...] = ("classes",)) -> Callable[[Search], Search]:
    """Enters a search over a grid under its name."""

    def enter(search: Search) -> Search:
        CLASSIFIERS.add(name, Searched(name, about, lambda _: search, search, targets=targets))
        return search

    return enter


_ALL = ("classes", "numbers", "several")


@_probe("ridge", "ridge regression", _ALL)
def ridge(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """Ridge regression of one indicator a class or label, or of a number; the normal equations are solved in the smaller of
    their two forms.
    """
    from sklearn.linear_model import Ridge, RidgeClassifier

    model = Ridge if y.dtype.kind == "f" else RidgeClassifier
    for alpha in ALPHAS:
        yield {"alpha": alpha}, model(alpha=alpha, solver="cholesky").fit(x, y)


@_probe("logistic", "logistic regression")
def logistic(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """Multinomial logistic regression with an L2 penalty; each fit begins where the one of the next larger penalty ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cg", tol=1e-6, max_iter=_MOST_ITERATIONS, warm_start=True)
    for c in CS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=c).fit(x, y)
        if max(model.n_iter_) >= _MOST_ITERATIONS:
            log.info("logistic regression with C = %g did not converge in %d iterations", c, _MOST_ITERATIONS)
        yield {"C": c}, copy.copy(model)  # what it learns next takes the place of what it learnt


@_probe("knn", "nearest neighbours", _ALL)
def knn(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
    """The commonest class among the k nearest train rows, or the mean of their numbers."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    model = KNeighborsRegressor if y.dtype.kind == "f" else KNeighborsClassifier
    for k, metric in product([k for k in NEIGHBOURS if k <= len(x)], METRICS):
        yield {"k": k, "metric": metric}, model(k, metric=metric, algorithm="brute").fit(x, y)
