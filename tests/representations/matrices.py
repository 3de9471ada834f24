"""The matrices that the representations are tested on: kinds of entries, shapes, and zoos made of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from lora_perf.core.features import Features
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo

Entries = NDArray[np.float32]
Shape = tuple[int, int]
Kind = Callable[[np.random.Generator, Shape], NDArray[np.float64]]

REPRESENTATIONS = (
    *("flat_vec", "simple_stats", "stats", "rank_based", "spectral", "matrix_norms", "distribution", "frequency"),
    *("info_theoretic", "ensemble"),
)
# Down (r, k) and up (m, r) at ranks 1, 4 and 16, widths with and without small factors, and the smallest ones.
SHAPES: tuple[Shape, ...] = (
    *((1, 320), (320, 1), (4, 96), (101, 4), (16, 60), (64, 16), (16, 16)),
    *((7, 7), (12, 13), (1, 1), (1, 5), (5, 1), (2, 3), (3, 2)),
)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def ill_conditioned(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Singular values from 1 down to 30 times the tolerance below which the condition number ignores them."""
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return left @ np.diag(np.geomspace(1, 30 * max(shape) * 2.0**-23, min(shape))) @ right


def one_entry(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    matrix = np.zeros(shape)
    matrix[rng.integers(shape[0]), rng.integers(shape[1])] = -3.7
    return matrix


def bin_edges(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Multiples of half a bin from 0 to 25: every second one lies on an edge of the histogram."""
    matrix = rng.integers(0, 100, shape, endpoint=True) * 0.25
    matrix.flat[0] = 25
    matrix.flat[-1] = 0
    return matrix


KINDS: dict[str, Kind] = {
    "normal": lambda rng, shape: rng.normal(0.05, 1.0, shape),
    "zeros": lambda _, shape: np.zeros(shape),
    "heavy_tailed": lambda rng, shape: rng.standard_cauchy(shape),
    "constant": lambda _, shape: np.full(shape, -0.75),
    "constant_not_representable": lambda _, shape: np.full(shape, 0.1),
    "near_constant": lambda rng, shape: 1 + 1e-6 * rng.normal(size=shape),
    "far_from_zero": lambda rng, shape: 100 + rng.normal(size=shape),
    "tiny": lambda rng, shape: 1e-20 * rng.normal(size=shape),
    "subnormal": lambda rng, shape: 1e-41 * rng.normal(size=shape),
    "huge": lambda rng, shape: 1e20 * rng.normal(size=shape),
    # Sums of these are no float32: features saturate.
    "largest": lambda rng, shape: FLOAT32_MAX * rng.choice([-1.0, 0.5, 1.0], shape),
    # Of rank 1, up to the rounding to float32.
    "outer_product": lambda rng, shape: np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1])),
    "ill_conditioned": ill_conditioned,
    "one_entry": one_entry,
    # The mean is exactly zero where the number of entries is even.
    "balanced_signs": lambda rng, shape: (rng.permutation(shape[0] * shape[1]) % 2 * 2.0 - 1).reshape(shape),
    "small_integers": lambda rng, shape: rng.integers(-3, 3, shape, endpoint=True).astype(np.float64),
    "bin_edges": bin_edges,
}


def matrix_of(kind: str, shape: Shape) -> Entries:
    """The same entries in every run; of a seed that leaves no singular value at the threshold of the condition number."""
    return KINDS[kind](np.random.default_rng([2, zlib.crc32(kind.encode()), *shape]), shape).astype(np.float32)


def layout_of(shapes: Sequence[Shape]) -> Layout:
    """Layers `block.<i>.<kind>.<projection>` of some shapes: wide ones are downs, the others ups."""
    names = []
    for i, (rows, columns) in enumerate(shapes):
        side = "down" if rows <= columns else "up"
        names.append(f"blocks.{i // 2}.attn{i % 2 + 1}.to_{'qv'[i % 3 % 2]}.lora.{side}.weight")
    return Layout(zip(names, shapes, strict=True))


def zoo_of(adapters: Sequence[Sequence[NDArray[np.floating]]]) -> Zoo:
    """A zoo of adapters, each a sequence of matrices, one a layer."""
    rows = np.stack([np.concatenate([matrix.ravel() for matrix in adapter]) for adapter in adapters]).astype(np.float32)
    layout = layout_of([matrix.shape for matrix in adapters[0]])
    return Zoo.from_rows(torch.from_numpy(rows), layout, torch.zeros(len(rows), dtype=torch.int64), ["only"])


def features_of_each(representations: Sequence[str], matrix: NDArray[np.floating]) -> dict[str, dict[str, float]]:
    """{representation: {feature: value}} of one matrix alone in a zoo of one adapter and one layer; not of the ensemble."""
    found = lora_perf.represent(zoo_of([[matrix]]), representations)
    return {name: dict(zip(short_names(one), one.values[0].tolist(), strict=True)) for name, one in found.items()}


def features_of(representation: str, matrix: NDArray[np.floating]) -> dict[str, float]:
    """{feature: value} of one matrix alone."""
    return features_of_each([representation], matrix)[representation]


def short_names(features: Features) -> list[str]:
    """The names without the layers."""
    return [name.rpartition("/")[2] for name in features.names]


@cache
def features_of_all_kinds(shape: Shape) -> dict[str, Features]:
    """All ten representations of a zoo of one layer whose adapters are the kinds of matrices, in their order."""
    return lora_perf.represent(zoo_of([[matrix_of(kind, shape)] for kind in KINDS]), list(REPRESENTATIONS))
