"""The ten representations as a study writes them: loops over adapters and layers, NumPy and SciPy on each matrix.

Definitions and order of the columns are those of `lora_perf.representations`; no line of it is used. Matrices are
float64, the precision in which the definitions hold; in float32 these loops are no faster, for calls are what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import lora_perf

Array = NDArray[np.float64]
_TOP = 10
_BINS = 50
_EPS = float(np.finfo(np.float32).eps)  # the weights' own resolution


def represent_by_loop(zoo: lora_perf.Zoo, names: Sequence[str]) -> dict[str, Tensor]:
    """Features (n, f) of each representation.

    What several representations need (the parts of `ensemble`) is computed once, as any study with a cache does.
    """
    parts = list(dict.fromkeys(part for name in names for part in parts_of(name)))
    found: dict[str, list[Array]] = {part: [] for part in parts}
    for row in zoo.rows.numpy():
        of_layers: dict[str, list[Array]] = {part: [] for part in parts}
        for layer in zoo.layout:
            matrix = row[layer.columns].reshape(layer.shape).astype(np.float64)
            for part in parts:
                of_layers[part].append(_OF_MATRIX[part](matrix))
        for part in parts:
            found[part].append(np.concatenate(of_layers[part]))
    tables = {part: np.stack(rows).astype(np.float32) for part, rows in found.items()}
    return {name: torch.from_numpy(np.concatenate([tables[part] for part in parts_of(name)], axis=1)) for name in names}


def parts_of(name: str) -> tuple[str, ...]:
    """The representations side by side in one."""
    if name == "ensemble":
        return ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")
    return (name,)


def _flat_vec(w: Array) -> Array:
    return w.ravel()


def _simple_stats(w: Array) -> Array:
    return np.array([np.linalg.norm(w), w.mean(), w.std(), w.max(), w.min()])


def _stats(w: Array) -> Array:
    flat = w.ravel()
    return np.array(
        [w.mean(), w.std(), np.median(w), w.min(), w.max(), scipy.stats.skew(flat), scipy.stats.kurtosis(flat)],
    )


def _rank_based(w: Array) -> Array:
    q = np.quantile(w, (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99))
    return np.array([*q, q[5] - q[3], q[8] - q[0]])


def _spectral(w: Array) -> Array:
    values = np.linalg.svd(w, compute_uv=False)
    top = _ten(values)
    shares = _ratio(top, top.sum())
    # Below the numerical rank there is only rounding.
    noise = max(w.shape) * _EPS * values[0]
    above = np.where(top > noise, top, 0)
    gaps = _ratio(above[:-1] - above[1:], above[:-1])
    signal = values[values > noise]
    condition = values[0] / signal[-1] if len(signal) else 0.0
    return np.array([*top, *shares, *gaps, _entropy(shares), condition, values.sum()])


def _matrix_norms(w: Array) -> Array:
    values = np.linalg.svd(w, compute_uv=False)
    frobenius, nuclear, spectral = np.linalg.norm(w), values.sum(), values[0]
    absolute = np.abs(w)
    return np.array(
        [
            frobenius,
            nuclear,
            spectral,
            absolute.sum(axis=0).max(),
            absolute.sum(axis=1).max(),
            _ratio(nuclear, frobenius),
            _ratio(spectral, frobenius),
        ]
    )


def _distribution(w: Array) -> Array:
    flat = w.ravel()
    q = np.quantile(flat, (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95))
    mean = flat.mean()
    deviation = np.abs(flat - mean).mean()
    variation = _ratio(flat.std(), max(abs(mean), _EPS * np.abs(flat).max()))
    return np.array([*q, q[4] - q[2], deviation, variation, scipy.stats.skew(flat), scipy.stats.kurtosis(flat)])


def _frequency(w: Array) -> Array:
    magnitudes = np.sort(np.abs(np.fft.fft2(w)).ravel())[::-1]
    top = _ten(magnitudes)
    share = _ratio(np.sum(top**2), np.sum(magnitudes**2))
    return np.array([*top, magnitudes.mean(), magnitudes.std(), magnitudes[0], share])


def _info_theoretic(w: Array) -> Array:
    counts, _ = np.histogram(w, bins=_BINS)
    entropy = _entropy(counts / w.size)
    return np.array([entropy, entropy / np.log(_BINS)])


_OF_MATRIX: dict[str, Callable[[Array], Array]] = {
    "flat_vec": _flat_vec,
    "simple_stats": _simple_stats,
    "stats": _stats,
    "rank_based": _rank_based,
    "spectral": _spectral,
    "matrix_norms": _matrix_norms,
    "distribution": _distribution,
    "frequency": _frequency,
    "info_theoretic": _info_theoretic,
}


def _ten(descending: NDArray[np.floating[Any]]) -> Array:
    return np.pad(descending[:_TOP].astype(np.float64, copy=False), (0, max(0, _TOP - len(descending))))


def _entropy(shares: Array) -> float:
    some = shares[shares > 0]
    return float(-np.sum(some * np.log(some)))


def _ratio(above: ArrayLike, below: ArrayLike) -> Array:
    """above / below, 0 where below is 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    out = np.zeros(np.broadcast(above, below).shape)
    np.divide(above, below, out=out, where=below != 0)
    return out
