"""The door for users' classifiers: a function that makes an estimator becomes a classifier under a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np

from lora_perf.classifiers.coordinates import Floats
from lora_perf.classifiers.protocol import CLASSIFIERS, Setting
from lora_perf.classifiers.searched import Labels, Search, Searched
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.registry import refuse_uncallable
from lora_perf.core.sources import owner_of

Function = TypeVar("Function", bound=Callable[..., Any])


def classifier(name: str, about: str = "") -> Callable[[Function], Function]:
    """Enters a function that returns an estimator of scikit-learn's form, `fit(X, y)` and `predict(X)`, under a name.

    The experiment and the audit then know the name. An estimator is fitted to the train rows; where the function returns or
    yields several, the best on the validation rows is taken, the first of equals. A function that has an argument `seed` is
    called once a seed, and each is a run of its own; one without arguments makes a single run.

    Shapes: X (n, d) float64: the features that vary on the train rows, standardised by these and divided by the root of
        max(n_train, f). Where they are more than the train rows, they are rotated to d < n_train dimensions, which keeps inner
        products and distances to train rows and so what linear models, kernels and neighbours find; trees see rotated axes.
        y (n,) int64, numbers of classes from 0 on; predict returns such numbers (n,).

        >>> import lora_perf
        >>> @lora_perf.classifier("centroid", about="the nearest mean of a class")
        ... def centroid():
        ...     from sklearn.neighbors import NearestCentroid
        ...     return NearestCentroid()
        >>> lora_perf.CLASSIFIERS["centroid"].seeded
        False

    Args:
        about: what it is, for the help of the commands; by default the first line of the function's docstring.

    Raises:
        LoraPerfError: the name is taken, or the function asks for something else than a seed. When it is used: it returned no
            estimator, or this one predicts no classes. Errors of the function and of its estimators pass through.
    """

    def enter(function: Function) -> Function:
        seeded = _takes_seed(name, function)
        told = about or (inspect.getdoc(function) or f"of {function.__module__}").splitlines()[0].rstrip(".")
        CLASSIFIERS.add(name, Searched(name, told, partial(_search, name, function), function, seeded), owner_of(function))
        return function

    return enter


def _takes_seed(name: str, function: Callable[..., Any]) -> bool:
    refuse_uncallable("classifier", name, function)
    parameters = inspect.signature(function).parameters
    needed = [
        one.name for one in parameters.values() if one.default is one.empty and one.kind not in _REST and one.name != "seed"
    ]
    if needed:
        raise LoraPerfError(
            expected=f"a function without arguments, or of seed alone, for the classifier {name}",
            found=f"one that needs {', '.join(needed)}",
            fix="give these a default",
        )
    return "seed" in parameters


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _search(name: str, function: Callable[..., Any], seed: int | None) -> Search:
    """The search over what a user's function makes for a seed."""

    def search(x: Floats, y: Labels) -> Iterator[tuple[Setting, Any]]:
        estimators = _estimators(name, function() if seed is None else function(seed=seed))
        settings = _settings(estimators)
        while estimators:  # so that those which are fitted and not the best do not stay
            estimator = estimators.pop(0)
            estimator.fit(x, y)
            yield settings.pop(0), estimator

    return search


def _estimators(name: str, made: Any) -> list[Any]:
    found = [made] if hasattr(made, "fit") or not isinstance(made, Iterable) else list(made)
    wrong = [each for each in found if isinstance(each, type) or not (hasattr(each, "fit") and hasattr(each, "predict"))]
    if wrong or not found:
        what = f"the class {wrong[0].__name__}" if wrong and isinstance(wrong[0], type) else None
        raise LoraPerfError(
            expected=f"estimators with fit and predict from the function of the classifier {name}",
            found=what or (f"a value of type {type(wrong[0]).__name__}" if wrong else "none"),
            fix="return one, or yield several",
        )
    if len({id(each) for each in found}) < len(found):
        raise LoraPerfError(
            expected=f"estimators of their own from the function of the classifier {name}",
            found="one of them twice",
            fix="make a new one each time",
        )
    return found


def _settings(estimators: list[Any]) -> list[Setting]:
    """What tells the estimators of a grid apart: those of their parameters that differ, or else their places from 1 on."""
    if len(estimators) == 1:
        return [{}]
    known = [
        {name: _plain(value) for name, value in each.get_params().items()} if hasattr(each, "get_params") else {}
        for each in estimators
    ]
    names = [name for name in known[0] if all(isinstance(one.get(name), float | int | str) for one in known)]
    differing = [name for name in names if len({one[name] for one in known}) > 1]
    chosen = [{name: one[name] for name in differing} for one in known]
    several = len({tuple(one.items()) for one in chosen}) == len(chosen)
    return chosen if several else [{"choice": place} for place in range(1, len(chosen) + 1)]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
