"""Learned features by other means: scikit-learn on the rows, and inner products of updates pair by pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import lora_perf

Array = NDArray[np.float64]


def pca_by_sklearn(rows: NDArray[np.float32], train: NDArray[np.int64], dimensions: int) -> Array:
    """Scores (n, d) by the full decomposition in float64.

    The solver that scikit-learn chooses for large rows only approximates, and in float32 components of nearly equal
    variance come out mixed: scores of 64 adapters were off by up to a fifth.
    """
    from sklearn.decomposition import PCA

    exact = rows.astype(np.float64)
    scores: Array = PCA(dimensions, svd_solver="full").fit(exact[train]).transform(exact)
    return scores


def update_products_by_pair(zoo: lora_perf.Zoo, some: NDArray[np.int64], others: NDArray[np.int64]) -> Array:
    """Inner products (some, others) of updates, one pair and one module at a time; no update is formed."""
    rows = zoo.rows.numpy()
    found = np.zeros((len(some), len(others)))
    for i, one in enumerate(some):
        for j, other in enumerate(others):
            for module in zoo.layout.modules:
                up, down = module.up, module.down
                ups = rows[one, up.columns].reshape(up.shape).T @ rows[other, up.columns].reshape(up.shape)
                downs = rows[one, down.columns].reshape(down.shape) @ rows[other, down.columns].reshape(down.shape).T
                found[i, j] += np.sum(ups * downs)
    return found


def update_products(zoo: lora_perf.Zoo, train: NDArray[np.int64]) -> Array:
    """All inner products (n, n_train) of rank-1 updates in float64: two products of matrices a module."""
    rows = zoo.rows.numpy()
    found = np.zeros((len(rows), len(train)))
    for module in zoo.layout.modules:
        assert module.rank == 1
        up, down = (rows[:, layer.columns].astype(np.float64) for layer in (module.up, module.down))
        found += (up @ up[train].T) * (down @ down[train].T)
    return found


def scores_of_products(products: Array, train: NDArray[np.int64], dimensions: int) -> Array:
    """Kernel PCA scores (n, d) of inner products (n, n_train) by scikit-learn."""
    from sklearn.decomposition import KernelPCA

    fitted = KernelPCA(dimensions, kernel="precomputed", eigen_solver="dense").fit(products[train])
    scores: Array = fitted.transform(products)
    return scores
