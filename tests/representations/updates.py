"""The updates that the representations of dW are tested on: kinds of factors, shapes, and zoos made of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from lora_perf.core.features import Features
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from tests.oracles_dw import ORACLES, Values, update

Factors = tuple[NDArray[np.floating], NDArray[np.floating]]  # B (m, r), A (r, k)
Shape = tuple[int, int, int]  # m, r, k
Kind = Callable[[np.random.Generator, Shape], Factors]

UPDATES = tuple(ORACLES)
NAMES = tuple(f"blocks.{i}.attn{j}.to_{one}" for i in range(4) for j in (1, 2) for one in ("q", "k", "v", "out"))
# Wide, tall and square; rank 1, ordinary ranks, and a rank above the sides of dW.
SHAPES: tuple[Shape, ...] = ((1, 1, 1), (7, 1, 5), (30, 1, 30), (40, 4, 40), (48, 16, 33), (29, 3, 64), (5, 8, 3), (6, 6, 6))
FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST = 1e-44  # a few steps of float32 at 0


def normal(rng: np.random.Generator, shape: Shape) -> Factors:
    m, r, k = shape
    return rng.normal(size=(m, r)), rng.normal(size=(r, k))


def scaled(up: float, down: float) -> Kind:
    """Normal factors times two numbers."""

    def kind(rng: np.random.Generator, shape: Shape) -> Factors:
        one, other = normal(rng, shape)
        return up * one, down * other

    return kind


def trained(rng: np.random.Generator, shape: Shape) -> Factors:
    """Small ups of uneven columns, downs of the usual initialisation."""
    m, r, k = shape
    return 0.01 * rng.normal(size=(m, r)) * np.geomspace(1, 0.1, r), rng.uniform(-1, 1, (r, k)) / k**0.5


def largest(rng: np.random.Generator, shape: Shape) -> Factors:
    m, r, k = shape
    return FLOAT32_MAX * rng.choice([-1.0, 0.5, 1.0], (m, r)), FLOAT32_MAX * rng.choice([-1.0, 0.5, 1.0], (r, k))


def decaying(rng: np.random.Generator, shape: Shape) -> Factors:
    """Singular values from 1 to ten times the tolerance."""
    m, r, k = shape
    left = np.linalg.svd(rng.normal(size=(m, r)), full_matrices=False)[0]
    right = np.linalg.svd(rng.normal(size=(r, k)), full_matrices=False)[2]
    c = min(r, m, k)
    up, down = np.zeros((m, r)), np.zeros((r, k))
    up[:, :c] = left[:, :c] * np.geomspace(1, 2e-4, c)
    down[:c] = right[:c]
    return up, down


def dependent(rng: np.random.Generator, shape: Shape) -> Factors:
    """Columns of B that repeat: the rank of dW is less than that of the factors."""
    up, down = normal(rng, shape)
    up[:, up.shape[1] // 2 :] = up[:, :1]
    return up, down


def unbalanced(rng: np.random.Generator, shape: Shape) -> Factors:
    """An ordinary update whose factors hold one component a thousand times as large in B as in A, and the reverse."""
    up, down = normal(rng, shape)
    balance = np.geomspace(1000, 1, up.shape[1])
    return up * balance, down / balance[:, None]


KINDS: dict[str, Kind] = {
    "normal": normal,
    "trained": trained,
    "zero_up": scaled(0, 1),
    "zeros": scaled(0, 0),
    "tiny": scaled(1e-20, 1e-20),
    "subnormal": scaled(1e-41, 1),
    "huge": scaled(1e20, 1e20),
    "huge_and_tiny": scaled(1e20, 1e-20),
    "largest": largest,
    "decaying": decaying,
    "dependent": dependent,
    "unbalanced": unbalanced,
}


def factors_of(kind: str, shape: Shape, seed: int = 0) -> Factors:
    """The same factors in every run, as float32."""
    up, down = KINDS[kind](np.random.default_rng([seed, zlib.crc32(kind.encode()), *shape]), shape)
    return up.astype(np.float32), down.astype(np.float32)


def layout_of(shapes: Sequence[Shape], names: Sequence[str] = NAMES) -> Layout:
    """Modules of some shapes, the down of each before its up."""
    layers = []
    for name, (m, r, k) in zip(names, shapes, strict=False):
        layers += [(f"unet.{name}.lora.down.weight", (r, k)), (f"unet.{name}.lora.up.weight", (m, r))]
    return Layout(layers)


def zoo_of(
    adapters: Sequence[Sequence[Factors]],
    scales: NDArray[np.floating] | None = None,
    ranks: NDArray[np.integer] | None = None,
    names: Sequence[str] = NAMES,
) -> Zoo:
    """A zoo of adapters, each a sequence of pairs (B, A), one a module."""
    shapes = [(*up.shape, down.shape[1]) for up, down in adapters[0]]
    rows = [np.concatenate([matrix.ravel() for up, down in adapter for matrix in (down, up)]) for adapter in adapters]
    return Zoo.from_rows(
        torch.from_numpy(np.stack(rows).astype(np.float32)),
        layout_of(shapes, names),
        torch.zeros(len(rows), dtype=torch.int64),
        ["only"],
        scales=None if scales is None else torch.from_numpy(np.asarray(scales)),
        ranks=None if ranks is None else torch.from_numpy(np.asarray(ranks)),
    )


def features_of(representation: str, factors: Factors, factor: float | None = None) -> Values:
    """{feature: value} of one module alone in a zoo of one adapter."""
    return named(represented([[factors]], representation, None if factor is None else np.array([[factor]])))


def represented(
    adapters: Sequence[Sequence[Factors]], representation: str, scales: NDArray[np.floating] | None = None
) -> Features:
    """Features of a zoo of adapters, each three times: three train rows that are one adapter settle nothing of their own."""
    scales = None if scales is None else np.repeat(scales, 3, axis=0)
    zoo = zoo_of([adapter for adapter in adapters for _ in range(3)], scales)
    return lora_perf.represent(zoo, [representation], train=slice(None))[representation][::3]


def unsigned(representation: str, values: torch.Tensor) -> torch.Tensor:
    """Features without what depends on other adapters: the signs of components."""
    return values.abs() if representation == "dw_canonical" else values


def named(features: Features, row: int = 0) -> Values:
    """{feature: value} of one adapter with one module."""
    return dict(zip((name.rpartition("/")[2] for name in features.names), features.values[row].tolist(), strict=True))


def expected(representation: str, factors: Factors, factor: float = 1.0, path: str = NAMES[0]) -> Values:
    """What the oracle makes of one module."""
    up, down = factors
    return ORACLES[representation](update(up, down, factor), up.shape[1], path)


def assert_close(found: Values, wanted: Values, representation: str, *, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """The same features, up to `rtol` of each, and `atol` of the size of those that are differences or have a sign."""
    assert list(found) == list(wanted)
    keys = list(wanted)
    values = np.array([wanted[key] for key in keys])
    bound = rtol * np.abs(values) + atol * _sizes(representation, wanted)
    low, high = (np.clip(value, -FLOAT32_MAX, FLOAT32_MAX) for value in (values - bound, values + bound))
    got = np.array([found[key] for key in keys])
    wrong = ~((got >= low - SMALLEST) & (got <= high + SMALLEST))  # a nan is wrong
    assert not wrong.any(), [(keys[i], got[i], values[i]) for i in np.flatnonzero(wrong)[:5]]


def _sizes(representation: str, wanted: Values) -> NDArray[np.float64]:
    """What rounding errors of each feature are measured against, beside its own value."""
    if representation in ("dw_sketch", "dw_gram_probe", "dw_canonical", "dw_energy"):
        return np.full(len(wanted), np.max(np.abs(list(wanted.values()))))
    if representation == "dw_norms":
        return np.array([wanted["max_row"] if key == "mean" else 0.0 for key in wanted])
    return np.array([0.0 if key.startswith("sv") or key in ("condition", "stable_rank") else 1.0 for key in wanted])
