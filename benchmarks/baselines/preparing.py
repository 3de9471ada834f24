"""Splitting, standardising and scoring with the libraries that everyone uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Parts = tuple[Indices, Indices, Indices]
Table = NDArray[np.float64]

_HELD_OUT, _TEST_OF_HELD_OUT = 0.3, 0.67


def split_by_sklearn(labels: Indices, seed: int) -> Parts:
    """Rows of the train, validation and test parts, each class in proportion: `train_test_split` twice."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    train, held = train_test_split(rows, test_size=_HELD_OUT, stratify=labels, random_state=seed)
    validation, test = train_test_split(held, test_size=_TEST_OF_HELD_OUT, stratify=labels[held], random_state=seed)
    return train, validation, test


def split_by_datasets(data: Any, seed: int) -> tuple[Any, Any, Any]:
    """The three parts as `datasets.Dataset`, by the original recipe: `train_test_split` twice."""
    first = data.train_test_split(test_size=_HELD_OUT, seed=seed)
    second = first["test"].train_test_split(test_size=_TEST_OF_HELD_OUT, seed=seed)
    return first["train"], second["train"], second["test"]


def standardise_by_sklearn(values: NDArray[np.float32], train: Indices) -> tuple[Indices, NDArray[np.float32]]:
    """The columns that vary on the train rows, and the train rows standardised: StandardScaler after VarianceThreshold."""
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.preprocessing import StandardScaler

    rows = values[train]
    kept = VarianceThreshold().fit(rows).get_support(indices=True)
    return kept, StandardScaler().fit_transform(rows[:, kept])


def scores_one_by_one(predictions: Indices, truth: Indices) -> tuple[Table, NDArray[np.int64]]:
    """Accuracy and macro F1, precision and recall (s, 4), and confusions (s, c, c): one call of scikit-learn for each."""
    from sklearn import metrics

    rows, confusions = [], []
    for run in predictions:
        rows.append(
            [
                metrics.accuracy_score(truth, run),
                metrics.f1_score(truth, run, average="macro"),
                metrics.precision_score(truth, run, average="macro"),
                metrics.recall_score(truth, run, average="macro"),
            ]
        )
        confusions.append(metrics.confusion_matrix(truth, run))
    return np.array(rows), np.stack(confusions)


def scores_by_formula(predictions: Indices, truth: Indices) -> tuple[Table, NDArray[np.int64]]:
    """The same from counts, by definition; every class is both predicted and true somewhere."""
    classes = int(truth.max()) + 1
    rows, confusions = [], []
    for run in predictions:
        counts = np.zeros((classes, classes), np.int64)
        np.add.at(counts, (truth, run), 1)
        right = np.diag(counts)
        precision, recall = right / counts.sum(axis=0), right / counts.sum(axis=1)
        f1 = 2 * precision * recall / (precision + recall)
        rows.append([right.sum() / len(truth), f1.mean(), precision.mean(), recall.mean()])
        confusions.append(counts)
    return np.array(rows), np.stack(confusions)
