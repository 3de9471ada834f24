"""Nearest neighbours by layer with a majority vote: as scikit-learn's neighbours, counted by hand, say it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

import lora_perf
from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, votes
from lora_perf.core.errors import LoraPerfError
from tests.classifiers.problems import problem

DSIRE = CLASSIFIERS["dsire"]


def voted(values: np.ndarray, layers: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[float]:
    """Layer by layer, without those that are constant; the smallest of the commonest."""
    told = []
    for layer in np.unique(layers):
        x = values[:, layers == layer]
        x = x[:, np.ptp(x[train], axis=0) > 0]
        if x.shape[1]:
            nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(x[train]).kneighbors(x[test])[1][:, 0]
            told.append(labels[train][nearest])
    found = []
    for row in np.array(told).T:
        counts = Counter(row.tolist())
        found.append(min(value for value, count in counts.items() if count == max(counts.values())))
    return found


@settings(max_examples=25, derandomize=True)
@given(f=st.integers(3, 30), count=st.integers(1, 9), seed=st.integers(0, 999), numbers=st.booleans())
def test_votes_are_those_of_neighbours_counted_by_hand(f: int, count: int, seed: int, numbers: bool) -> None:
    values, labels, split = problem(f, seed, 0.4)
    layers = torch.from_numpy(np.random.default_rng(seed).integers(0, count, f))
    if bool((torch.bincount(layers[:-2], minlength=count) == 0).all()):
        return
    asked = labels.double() * 1.5 if numbers else labels
    found = DSIRE.fit(Examples(values, split, layers), asked, 3, Setup(task="numbers" if numbers else "classes"))
    parts = (part.numpy() for part in (split.train, split.test))
    wanted = voted(values.double().numpy(), layers.numpy(), asked.numpy(), *parts)
    assert found.predictions[0].tolist() == wanted
    assert found.dropped.tolist() == [f - 2, f - 1]
    assert torch.equal(found.predict(values[split.test]), found.predictions)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, split = problem(12, signal=0.4)
    examples = Examples(values, split, torch.arange(12) // 3)
    whole = DSIRE.fit(examples, labels, 3).predictions
    monkeypatch.setattr(votes, "_CHUNK_NBYTES", 1)
    assert torch.equal(DSIRE.fit(examples, labels, 3).predictions, whole)


def test_the_labels_of_other_rows_are_never_looked_at() -> None:
    values, labels, split = problem(12, signal=0.4)
    others = labels.clone()
    others[torch.cat([split.test, split.validation])] = 0
    examples = Examples(values, split, torch.arange(12) // 3)
    assert torch.equal(DSIRE.fit(examples, labels, 3).predictions, DSIRE.fit(examples, others, 3).predictions)


def test_a_matrix_without_layers_is_refused() -> None:
    values, labels, split = problem(12)
    with pytest.raises(LoraPerfError, match="which layer each column came from, for dsire; found a matrix alone"):
        DSIRE.fit(Examples(values, split), labels, 3)


def test_an_experiment_asks_the_layers_of_updates() -> None:
    asked = {"representations": ["dw_singular_values"], "layer_groups": ["all"], "classifiers": ["dsire"], "controls": []}
    results = lora_perf.experiment.run("digits", **asked)
    (cell,) = results.cells
    assert cell.setting == {"layers": 12}
    assert 0 <= results.accuracy("dw_singular_values", "all", "dsire").mean < 0.5
