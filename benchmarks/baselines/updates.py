"""Representations of dW = s B A as a study writes them: module by module, from a singular value decomposition of each.

Two ways to that decomposition: `svd_lowrank` of the product, which most tools use, and QR of both factors in float64, which
never forms the product and is exact. No line of `lora_perf.representations` is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import lora_perf

Array = NDArray[np.float64]
_EPS = float(np.finfo(np.float32).eps)


class Thin(NamedTuple):
    """dW = U diag(s) V^T: u (m, c), s (c,), v (k, c), and the random vectors of its module."""

    u: Array
    s: Array
    v: Array
    vectors: tuple[Array, Array, Array]


def spectrum_by_svd_lowrank(zoo: lora_perf.Zoo) -> Tensor:
    """`dw_spectrum` (n, f): each product formed, its leading singular values by a randomised method, seeded."""
    torch.manual_seed(0)
    rows = []
    for row in zoo.rows:
        found = []
        for module in zoo.layout.modules:
            up = row[module.up.columns].view(module.up.shape)
            down = row[module.down.columns].view(module.down.shape)
            _, values, _ = torch.svd_lowrank(up @ down, q=module.rank)
            found.append(_spectrum(values.double().numpy(), module.shape))
        rows.append(np.concatenate(found))
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def updates_by_qr(zoo: lora_perf.Zoo, name: str, vectors: Mapping[str, tuple[Array, Array, Array]]) -> Tensor:
    """One representation of dW (n, f) by QR; `vectors` are the sketch's two matrices and the pole of each module."""
    rows = []
    for row in zoo.rows.numpy():
        modules = {
            module.name: Thin(
                *thin_svd(
                    row[module.up.columns].reshape(module.up.shape).astype(np.float64),
                    row[module.down.columns].reshape(module.down.shape).astype(np.float64),
                ),
                vectors[module.name],
            )
            for module in zoo.layout.modules
        }
        found = [_OF_MODULE[name](one) for one in modules.values()]
        if name == "layer_coupling":
            found += [_pair(modules[one], modules[two]) for one, two in _neighbours(modules)]
        rows.append(np.concatenate(found))
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def thin_svd(up: Array, down: Array) -> tuple[Array, Array, Array]:
    """U, s and V of the product of B (m, r) and A (r, k), by QR of both and the decomposition of what is left."""
    q_up, r_up = np.linalg.qr(up)
    q_down, r_down = np.linalg.qr(down.T)
    left, values, right = np.linalg.svd(r_up @ r_down.T, full_matrices=False)
    return q_up @ left, values, q_down @ right.T


def _spectrum(values: Array, shape: tuple[int, int]) -> Array:
    noise = max(*shape, 128) * _EPS * values[0]
    values = np.where(values > noise, values, 0)
    shares = values / values.sum()
    some = shares[shares > 0]
    entropy = -np.sum(some * np.log(some))
    gaps = np.divide(values[:-1] - values[1:], values[:-1], out=np.zeros(len(values) - 1), where=values[:-1] > 0)
    rest = [entropy, np.exp(entropy), np.sum((values / values[0]) ** 2), values[0] / values[values > 0][-1], len(some)]
    return np.concatenate([values, shares, gaps, np.log(np.maximum(values, noise)), rest])


def _norms(one: Thin) -> Array:
    m, k = len(one.u), len(one.v)
    frobenius, nuclear = np.linalg.norm(one.s), one.s.sum()
    row, column = (np.linalg.norm(side * one.s, axis=1).max() for side in (one.u, one.v))
    mean = one.u.sum(axis=0) * one.s @ one.v.sum(axis=0) / (m * k)
    ratios = np.array([nuclear, one.s[0], row, column]) / frobenius
    return np.array([frobenius, nuclear, one.s[0], row, column, mean, *ratios])


def _energy(one: Thin) -> Array:
    return np.concatenate([np.sum((side * one.s) ** 2, axis=1) for side in (one.u, one.v)])


def _sketch(one: Thin) -> Array:
    left, right, _ = one.vectors
    return np.asarray((left.T @ one.u * one.s @ (one.v.T @ right)).ravel())


def _gram_probe(one: Thin) -> Array:
    left, right, _ = one.vectors
    found = []
    for vectors, side in ((left, one.u), (right, one.v)):
        half = vectors.T @ side * one.s
        answers = (half @ half.T)[np.triu_indices(vectors.shape[1])]
        found.append(np.sign(answers) * np.sqrt(np.abs(answers)))
    return np.concatenate(found)


def _canonical(one: Thin) -> Array:
    _, _, pole = one.vectors
    weights = np.sqrt(one.s) * np.where(pole @ one.u < 0, -1, 1)
    return np.concatenate([(one.u * weights).T.ravel(), (one.v * weights).T.ravel()])


def _coupling(one: Thin) -> Array:
    if len(one.u) != len(one.v):
        return np.zeros(0)
    turn = one.v.T @ one.u
    squares = one.s**2
    trace = np.trace(turn * one.s) / one.s.sum()
    symmetry = one.s @ (turn * turn.T) @ one.s / squares.sum()
    return np.array([trace, symmetry, squares @ turn**2 @ squares / np.sum(squares**2)])


def _pair(one: Thin, two: Thin) -> Array:
    writes, reads = one.u.T @ two.u, one.v.T @ two.v
    cosine = one.s @ (writes * reads) @ two.s / (np.linalg.norm(one.s) * np.linalg.norm(two.s))
    a, b = one.s**2, two.s**2
    both = np.linalg.norm(a) * np.linalg.norm(b)
    return np.array([cosine, a @ reads**2 @ b / both, a @ writes**2 @ b / both])


def _neighbours(modules: Mapping[str, Thin]) -> list[tuple[str, str]]:
    last: dict[Any, str] = {}
    pairs: dict[Any, list[tuple[str, str]]] = {}
    for name, one in modules.items():
        family = (name.rpartition(".")[0], len(one.s), len(one.u), len(one.v))
        if family in last:
            pairs[family].append((last[family], name))
        else:
            pairs[family] = []
        last[family] = name
    return [pair for found in pairs.values() for pair in found]


_OF_MODULE: dict[str, Callable[[Thin], Array]] = {
    "dw_spectrum": lambda one: _spectrum(one.s, (len(one.u), len(one.v))),
    "dw_singular_values": lambda one: _spectrum(one.s, (len(one.u), len(one.v)))[: len(one.s)],
    "dw_norms": _norms,
    "dw_energy": _energy,
    "dw_sketch": _sketch,
    "dw_gram_probe": _gram_probe,
    "dw_canonical": _canonical,
    "layer_coupling": _coupling,
}
