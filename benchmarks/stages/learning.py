"""Learned representations: features of all adapters, fitted on seven of ten."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import baselines, corpora, surface
from benchmarks.stages.representing import zoo_in_memory
from benchmarks.table import Baseline, Case, workload

_TOLERANCE = 1e-6  # of the mean size of a score: both sides are float64, until the features are stored as float32


@cache
def _train(adapters: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(adapters)[: 7 * adapters // 10])


@cache
def _expected(name: str, adapters: int) -> NDArray[np.float64]:
    """Scores (n, d): scikit-learn's kernel PCA of inner products of the rows, or of the updates."""
    zoo, train = zoo_in_memory(adapters), _train(adapters)
    if name == "pca":
        rows = zoo.rows.numpy().astype(np.float64)
        rows -= rows[train].mean(axis=0)
        products = rows @ rows[train].T
    else:
        products = baselines.update_products(zoo, train)
    return baselines.scores_of_products(products, train, _dimensions(adapters))


def _dimensions(adapters: int) -> int:
    return min(256, len(_train(adapters)) - 1)


def _assert_scores(found: NDArray[Any], expected: NDArray[np.float64]) -> None:
    """Equal scores, whichever way a component points."""
    assert found.shape == expected.shape, f"{found.shape} instead of {expected.shape}"
    turned = expected * np.where((found * expected).sum(axis=0) < 0, -1, 1)
    np.testing.assert_allclose(found, turned, rtol=1e-5, atol=_TOLERANCE * np.abs(expected).mean())


def _case(name: str, scale: str, slow: dict[str, Baseline]) -> Case:
    adapters, learn = corpora.SCALES[scale], surface.learn
    zoo, train = zoo_in_memory(adapters), torch.from_numpy(_train(adapters))

    def check(found: Any) -> None:
        scores = found.values.numpy()
        _assert_scores(scores, _expected(name, adapters))
        tails = (scores[_train(adapters)].astype(np.float64) ** 3).sum(axis=0)
        sizes = (np.abs(scores[_train(adapters)].astype(np.float64)) ** 3).sum(axis=0)
        assert np.all(tails >= -1e-6 * sizes), "a component points the wrong way"

    return Case(
        call=lambda: learn(zoo, name, train=train),
        check=check,
        nbytes=zoo.nbytes,
        baselines=slow,
        layers=len(zoo.layout),
        adapters=adapters,
    )


@workload("learning", "small", "medium", baselines=("scikit-learn",))
def learn_pca(scale: str) -> Case:
    """PCA of the flat rows."""
    adapters = corpora.SCALES[scale]
    rows = zoo_in_memory(adapters).rows.numpy()

    def check(found: NDArray[np.float64]) -> None:
        _assert_scores(found, _expected("pca", adapters))

    slow = Baseline(lambda: baselines.pca_by_sklearn(rows, _train(adapters), _dimensions(adapters)), check)
    return _case("pca", scale, {"scikit-learn": slow})


@workload("learning", "small", "medium", baselines=("pair-by-pair",))
def learn_dw_kernel(scale: str) -> Case:
    """Kernel PCA of the updates dW = s B A."""
    adapters = corpora.SCALES[scale]
    zoo, train = zoo_in_memory(adapters), _train(adapters)
    some = np.array([0, adapters - 1])  # the loop over pairs is given two adapters; its share scales the time

    def check(found: NDArray[np.float64]) -> None:
        expected = baselines.update_products(zoo, train)[some]
        # A sum of m or k float32 products of either sign, relative to what the products are at most.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).mean())

    slow = Baseline(lambda: baselines.update_products_by_pair(zoo, some, train), check, len(some) / adapters)
    return _case("dw_kernel", scale, {"pair-by-pair": slow})
