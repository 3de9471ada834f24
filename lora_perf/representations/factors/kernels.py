"""Inner loops by device: NumPy's vectorised kernels beat torch's on a CPU, by 3 to 13 times; torch runs them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def sort(rows: Tensor) -> Tensor:
    """(q, i) rows in ascending order."""
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(dim=1).values


# Terms added in float32: longer sums lose the sixth digit. How many of them a sum takes one after the other is the
# processor's choice (OpenBLAS keeps 4 to 128 sums side by side), so that a piece must be short enough for the least of them.
_PIECE = 320


def dots(a: Tensor, b: Tensor) -> Tensor:
    """(q,) float64 inner products of the rows of (q, i) and (q, i): pieces in float32, their sums in float64."""
    if a.device.type != "cpu":
        return (a * b).sum(dim=1).double()  # a tree of sums
    left, right = a.numpy(), b.numpy()
    q, i = left.shape
    whole = i - i % _PIECE
    total = np.vecdot(left[:, whole:], right[:, whole:]).astype(np.float64)
    if whole:
        pieces = (q, whole // _PIECE, _PIECE)
        total += np.vecdot(left[:, :whole].reshape(pieces), right[:, :whole].reshape(pieces)).sum(axis=1, dtype=np.float64)
    return torch.from_numpy(total)


def sums(rows: Tensor) -> Tensor:
    """(q,) sums of rows (q, i), added in float64."""
    if rows.device.type == "cpu":
        return torch.from_numpy(rows.numpy().sum(axis=1, dtype=np.float64))
    return rows.sum(dim=1, dtype=torch.float64)


def magnitudes(values: Tensor) -> Tensor:
    """Absolute values of complex numbers, any shape."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.abs(values.numpy()))
    return values.abs()


def widened(views: Sequence[Tensor]) -> Tensor:
    """(len(views) b, i, j) float64 of float32 views (b, i, j), one after the other: converted and stacked in one copy."""
    first = views[0]
    if first.device.type == "cpu":
        stacked = torch.from_numpy(np.empty((len(views), *first.shape)))  # NumPy asks for huge pages, torch does not
    else:
        stacked = torch.empty((len(views), *first.shape), dtype=torch.float64, device=first.device)
    for place, view in zip(stacked, views, strict=True):
        place.copy_(view)
    return stacked.flatten(0, 1)


# Matrices in one call of cuSOLVER: 40,000 of 4 x 4 worked on an H200, 200,000 ended in an internal error.
_MOST_MATRICES = 16_384


def eigenvalues(matrices: Tensor) -> Tensor:
    """(q, r) eigenvalues, ascending, of symmetric matrices (q, r, r)."""
    if matrices.device.type == "cpu" or len(matrices) <= _MOST_MATRICES:
        values: Tensor = torch.linalg.eigvalsh(matrices)
        return values
    return torch.cat([torch.linalg.eigvalsh(some) for some in matrices.split(_MOST_MATRICES)])


def eigenvectors(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (q, r), ascending, and eigenvectors (q, r, r) of symmetric matrices (q, r, r)."""
    if matrices.device.type == "cpu" or len(matrices) <= _MOST_MATRICES:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors
    pieces = [torch.linalg.eigh(some) for some in matrices.split(_MOST_MATRICES)]
    values, vectors = (torch.cat(part) for part in zip(*pieces, strict=True))
    return values, vectors
