"""Classifiers that are estimators of scikit-learn's form: of a grid of them, the one that is best on the validation rows, or
over folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.classifiers.coordinates import Coordinates, Floats, few_threads, refuse_too_many
from lora_perf.classifiers.protocol import USUAL, Examples, Fitted, Run, Setting, Setup, seeds_of
from lora_perf.classifiers.scores import gains
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.sources import source_version
from lora_perf.core.target import Task

Labels = NDArray[Any]  # classes or numbers (n,), or 0 and 1 of several labels (n, l)
# Train rows (n_train, d) and what is learned of them -> (setting, fitted estimator), the most regular first.
Search = Callable[[Floats, Labels], Iterator[tuple[Setting, Any]]]


@dataclass(frozen=True, eq=False)
class Searched:
    """A search over a grid as a classifier: the first of several equally good estimators is taken.

    Attributes:
        search: of the seed of a run, or of None.
        source: the function that it was made of.
    """

    name: str
    about: str
    search: Callable[[int | None], Search]
    source: Callable[..., Any]
    seeded: bool = False
    by_epochs: bool = False
    targets: tuple[str, ...] = ("classes",)

    @property
    def version(self) -> str:
        return source_version(self.source)

    def refuse(self, n_train: int, features: int) -> None:
        """Raises LoraPerfError where the coordinates of so many rows and features take too long."""
        refuse_too_many(n_train, features)

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """The best estimator of the search for each seed; see `Classifier.fit`.

        Raises:
            LoraPerfError: train rows of a single class, predictions that are no classes.
        """
        x, known = examples.coordinates, labels.cpu().numpy()
        if setup.task == "classes" and len(np.unique(known[examples.fitted_split.train.numpy()])) < 2:
            raise _single_class()
        runs, predictions, estimators = [], [], []
        for seed in seeds_of(self, setup.seeds):
            choose = self._by_folds if examples.folds else self._best
            run, found, estimator = choose(seed, examples, known, n_classes, setup.task)
            runs.append(run)
            predictions.append(found)
            estimators.append(estimator)
        answers = self._answers(x, estimators, n_classes, setup.task) if setup.keep else None
        return Fitted(torch.from_numpy(np.stack(predictions)), tuple(runs), examples.values.shape[1], x.dropped, answers)

    def _best(
        self, seed: int | None, examples: Examples, labels: Labels, n_classes: int, task: Task
    ) -> tuple[Run, Labels, Any]:
        """The run of one seed, its predictions of the test rows and its estimator, chosen on the validation rows."""
        begin = time.perf_counter()
        x, split = examples.coordinates, examples.split
        y, y_validation = (labels[rows.numpy()] for rows in (split.train, split.validation))
        best: tuple[float, Setting, Labels, Any] | None = None
        with few_threads(x.train.size):
            for setting, estimator in self.search(seed)(x.train, y):
                found = self._predicted(estimator, x.validation, n_classes, task)
                accuracy = float(gains(task, found[None], y_validation).mean())
                if best is None or accuracy > best[0]:
                    best = accuracy, setting, self._predicted(estimator, x.test, n_classes, task), estimator
        assert best is not None  # no search is empty
        accuracy, setting, predictions, estimator = best
        return Run(seed, accuracy, seconds=time.perf_counter() - begin, setting=setting), predictions, estimator

    def _by_folds(
        self, seed: int | None, examples: Examples, labels: Labels, n_classes: int, task: Task
    ) -> tuple[Run, Labels, Any]:
        """The same with the setting that says most of the rows of all folds, each said by what the other folds teach."""
        begin = time.perf_counter()
        said: dict[tuple[Any, ...], list[Labels]] = {}
        truth = []
        for split, fold in examples.folded():
            y = labels[split.train.numpy()]
            if task == "classes" and len(np.unique(y)) < 2:
                continue
            truth.append(labels[split.validation.numpy()])
            with few_threads(fold.train.size):
                for setting, estimator in self.search(seed)(fold.train, y):
                    said.setdefault(_key(setting), []).append(self._predicted(estimator, fold.validation, n_classes, task))
        known = [key for key, parts in said.items() if len(parts) == len(truth)]  # of few rows there are fewer neighbours
        if not known:
            raise _single_class()
        scores = [float(gains(task, np.concatenate(said[key])[None], np.concatenate(truth)).mean()) for key in known]
        best = int(np.argmax(scores))
        x, y = examples.coordinates, labels[examples.fitted_split.train.numpy()]
        with few_threads(x.train.size):
            found = ((setting, one) for setting, one in self.search(seed)(x.train, y) if _key(setting) == known[best])
            setting, estimator = next(found)  # what comes after it in the grid is not fitted
            predictions = self._predicted(estimator, x.test, n_classes, task)
        return Run(seed, scores[best], seconds=time.perf_counter() - begin, setting=setting), predictions, estimator

    def _answers(self, x: Coordinates, estimators: list[Any], n_classes: int, task: Task) -> Callable[[Tensor], Tensor]:
        def answers(values: Tensor) -> Tensor:
            rows = x.further(values)
            return torch.from_numpy(np.stack([self._predicted(each, rows, n_classes, task) for each in estimators]))

        return answers

    def _predicted(self, estimator: Any, rows: Floats, n_classes: int, task: Task) -> NDArray[Any]:
        """What an estimator predicts of rows (n, d), seen to be classes (n,), or numbers (n,), or scores (n, l)."""
        found = np.asarray(estimator.predict(rows))
        if task != "classes":
            shape = (len(rows),) if task == "numbers" else (len(rows), n_classes)
            if found.shape != shape or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
                raise LoraPerfError(
                    expected=f"predictions of the classifier {self.name}: finite {task} of shape {shape}",
                    found=f"shape {found.shape}, type {found.dtype}",
                    fix="return from predict what y was made of",
                )
            return found.astype(np.float64)
        wrong = ""
        if found.shape != (len(rows),):
            wrong = f"shape {found.shape}"
        elif found.dtype.kind not in "iu":
            wrong = f"values of type {found.dtype}"
        elif len(found) and not 0 <= found.min() <= found.max() < n_classes:
            wrong = f"values from {found.min()} to {found.max()}"
        if wrong:
            raise LoraPerfError(
                expected=f"predictions of the classifier {self.name} for {len(rows):,} rows: their classes, integers from 0 to "
                f"{n_classes - 1}",
                found=wrong,
                fix="return from predict what y was made of",
            )
        return found.astype(np.int64)


def _key(setting: Setting) -> tuple[Any, ...]:
    return tuple(setting.items())


def _single_class() -> LoraPerfError:
    return LoraPerfError(
        expected="train adapters of two classes or more",
        found="a single class",
        fix="use a larger zoo or another split",
    )
