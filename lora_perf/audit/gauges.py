"""Gauges: seeded choices of G for each module of each adapter, which leave its update B A = (B G) (G^-1 A) as it is.

Axes: b adapters, up B (m, r), down A (r, k), o <= r an adapter's own rank of a module. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
import xxhash
from torch import Tensor

from lora_perf.core.layout import Layout, Module

# G has singular values within a factor of 10 of each other: far from 1, yet B G and G^-1 A keep float32's precision.
CONDITION = 10.0
# A working pair of factors may differ by far more, but nothing new is seen beyond.
RESCALING = 10.0

Generators = Sequence[np.random.Generator]
# (up (b, m, o), down (b, o, k), one generator an adapter) -> G and its inverse, both (b, o, o)
Choose = Callable[[Tensor, Tensor, Generators], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Gauge:
    """A way to choose G.

    Attributes:
        name: the key of GAUGES.
        about: what it does, in a few words.
        choose: the function that does it.
    """

    name: str
    about: str
    choose: Choose


GAUGES: dict[str, Gauge] = {}


def _gauge(name: str, about: str) -> Callable[[Choose], Choose]:
    """Enters a choice of G under its name."""

    def enter(choose: Choose) -> Choose:
        GAUGES[name] = Gauge(name, about, choose)
        return choose

    return enter


@_gauge(
    "invertible",
    f"random invertible G of condition at most {CONDITION:g}; at rank 1 a factor of either sign from "
    f"{CONDITION**-0.5:.2f} to {CONDITION**0.5:.2f}",
)
def invertible(up: Tensor, down: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
    """G = P diag(s) Q^T with P and Q uniform among the orthogonal matrices, s log-uniform from 10^-1/2 to 10^1/2."""
    r = up.shape[2]
    drawn = torch.from_numpy(np.stack([one.standard_normal((2, r, r)) for one in generators]))
    orthogonal, triangular = torch.linalg.qr(drawn)
    # Only with a positive diagonal of R is Q uniform (Mezzadri 2007); at rank 1 this is the sign of G.
    orthogonal = orthogonal * torch.where(triangular.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[..., None, :]
    left, right = orthogonal[:, 0], orthogonal[:, 1]
    values = ((_uniform(generators, r) - 0.5) * log(CONDITION)).exp()[:, None, :]
    return (left * values) @ right.mT, (right / values) @ left.mT


@_gauge("signs", "both vectors of each component b_i a_i of B A turned to the other sign at random")
def signs(up: Tensor, down: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
    """G = diag(+-1), each sign with probability one half; exact in any precision."""
    flips = torch.diag_embed(torch.where(_uniform(generators, up.shape[2]) < 0.5, -1.0, 1.0).double())
    return flips, flips


@_gauge("balanced", "both factors rescaled to the same Frobenius norm")
def balanced(up: Tensor, down: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
    """G = sqrt(|A| / |B|) I; 1 where a factor is zero."""
    ups, downs = up.flatten(1).norm(dim=1), down.flatten(1).norm(dim=1)
    return _multiples(torch.where((ups > 0) & (downs > 0), (downs / ups).sqrt(), 1.0), up.shape[2])


@_gauge("rescaled", f"a factor moved from A to B, log-uniform from 1/{RESCALING:g} to {RESCALING:g}")
def rescaled(up: Tensor, down: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
    """G = c I with log c uniform."""
    drawn = _uniform(generators, 1)[:, 0]
    return _multiples(((2 * drawn - 1) * log(RESCALING)).exp(), up.shape[2])


@dataclass(frozen=True)
class Pair:
    """One module of b adapters in another gauge: up B G (b, m, r), down G^-1 A (b, r, k), float64."""

    place: int
    module: Module
    up: Tensor
    down: Tensor


def regauged(
    rows: Tensor, layout: Layout, gauge: Gauge, adapters: Tensor, seed: int, ranks: Tensor | None = None
) -> Iterator[Pair]:
    """The modules of some adapters in another gauge, module by module.

    G depends on the seed, the gauge, the number of the adapter and the layout's modules, and for `balanced` on the factors.
    On adapters of a smaller rank G acts on that rank's part, so that the rest stays zero.

    Shapes: rows (b, p), adapters (b,) their numbers in the zoo, ranks (b, modules) or None where all have the layout's.
    Cost: 2 (m + k) r^2 flops a module, and some microseconds an adapter and module for random numbers.
    """
    generators = [_generator(seed, gauge.name, int(adapter)) for adapter in adapters]
    for place, module in enumerate(layout.modules):
        up = rows[:, module.up.columns].unflatten(1, module.up.shape).to(torch.float64, copy=True)
        down = rows[:, module.down.columns].unflatten(1, module.down.shape).to(torch.float64, copy=True)
        own = torch.full((len(rows),), module.rank) if ranks is None else ranks[:, place]
        for rank in own.unique().tolist():
            some = (own == rank).nonzero().flatten()
            mine = [generators[i] for i in some.tolist()]
            turn, back = gauge.choose(up[some, :, :rank], down[some, :rank], mine)
            up[some, :, :rank] = up[some, :, :rank] @ turn
            down[some, :rank] = back @ down[some, :rank]
        yield Pair(place, module, up, down)


def _generator(seed: int, gauge: str, adapter: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=xxhash.xxh3_128_intdigest(f"{seed} {gauge} {adapter}".encode())))


def _uniform(generators: Generators, count: int) -> Tensor:
    """(b, count) from 0 to 1."""
    return torch.from_numpy(np.stack([one.random(count) for one in generators]))


def _multiples(factors: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """(b, r, r) multiples of the unit matrix, and their inverses."""
    unit = torch.eye(r, dtype=torch.float64)
    return factors[:, None, None] * unit, unit / factors[:, None, None]
