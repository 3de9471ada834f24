"""The representations of dW = s B A, straight from their definitions: float64, dW formed, one module at a time, slow.

Every function takes dW, the rank of its factors and the dotted path of its module, and returns {feature: value} in column
order. A ratio whose denominator is exactly zero is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xxhash
from numpy.typing import NDArray

from tests.oracles import EPS32, entropy, ratio

Matrix = NDArray[np.float64]
Values = dict[str, float]

WIDTH = 16
SMALLEST = float(np.finfo(np.float32).tiny)


def update(up: NDArray[np.floating], down: NDArray[np.floating], factor: float = 1.0) -> Matrix:
    """dW of the factors B (m, r) and A (r, k)."""
    return factor * (np.asarray(up, np.float64) @ np.asarray(down, np.float64))


def tolerance(shape: tuple[int, ...]) -> float:
    return max(*shape, 128) * EPS32


def singular_values(dw: Matrix, rank: int) -> Matrix:
    """Those that may differ from 0, the ones that are rounding noise set to 0."""
    values = np.linalg.svd(dw, compute_uv=False)[: min(rank, *dw.shape)]
    return np.where(values <= tolerance(dw.shape) * values[0], 0, values)


def dw_spectrum(dw: Matrix, rank: int, path: str) -> Values:
    values = singular_values(dw, rank)
    shares = [ratio(value, np.sum(values)) for value in values]
    above = values[values > 0]
    floor = max(tolerance(dw.shape) * values[0], SMALLEST)
    return {
        **{f"sv{i}": value for i, value in enumerate(values)},
        **{f"share{i}": share for i, share in enumerate(shares)},
        **{f"gap{i}": ratio(values[i] - values[i + 1], values[i]) for i in range(len(values) - 1)},
        **{f"log{i}": np.log(max(value, floor)) for i, value in enumerate(values)},
        "entropy": entropy(shares),
        "effective_rank": np.exp(entropy(shares)) if len(above) else 0.0,
        "stable_rank": np.sum((values / values[0]) ** 2) if len(above) else 0.0,
        "condition": above[0] / above[-1] if len(above) else 0.0,
        "rank": float(len(above)),
    }


def dw_singular_values(dw: Matrix, rank: int, path: str) -> Values:
    return {f"sv{i}": value for i, value in enumerate(singular_values(dw, rank))}


def dw_norms(dw: Matrix, rank: int, path: str) -> Values:
    values = singular_values(dw, rank)
    frobenius = np.linalg.norm(dw)
    row = np.max(np.linalg.norm(dw, axis=1))
    column = np.max(np.linalg.norm(dw, axis=0))
    return {
        "frobenius": frobenius,
        "nuclear": np.sum(values),
        "spectral": values[0],
        "max_row": row,
        "max_column": column,
        "mean": np.mean(dw),
        "nuclear_over_frobenius": ratio(np.sum(values), frobenius),
        "spectral_over_frobenius": ratio(values[0], frobenius),
        "max_row_over_frobenius": ratio(row, frobenius),
        "max_column_over_frobenius": ratio(column, frobenius),
    }


def dw_energy(dw: Matrix, rank: int, path: str) -> Values:
    rows, columns = np.sum(dw**2, axis=1), np.sum(dw**2, axis=0)
    return {
        **{f"row{i}": value for i, value in enumerate(rows)},
        **{f"column{j}": value for j, value in enumerate(columns)},
    }


def dw_sketch(dw: Matrix, rank: int, path: str) -> Values:
    left, right = (signs(path, purpose, dw.shape, length) for purpose, length in zip(("left", "right"), dw.shape, strict=True))
    sketch = left.T @ dw @ right
    return {f"p{i}q{j}": sketch[i, j] for i in range(WIDTH) for j in range(WIDTH)}


def dw_canonical(dw: Matrix, rank: int, path: str) -> Values:
    left, _, right = np.linalg.svd(dw, full_matrices=False)
    roots = np.sqrt(singular_values(dw, rank))
    pole = np.array([word / 2**63 - 1 for word in words(path, "pole", dw.shape, dw.shape[0])])
    found: dict[str, list[float]] = {}
    for i, root in enumerate(roots):
        sign = -1 if pole @ left[:, i] < 0 else 1
        found[f"u{i}"] = (sign * root * left[:, i]).tolist()
        found[f"v{i}"] = (sign * root * right[i]).tolist()
    order = [f"{side}{i}" for side in "uv" for i in range(len(roots))]
    return {f"{name}_{j}": value for name in order for j, value in enumerate(found[name])}


def sketch_of_projector(vectors: Matrix, random: Matrix) -> Values:
    """The upper triangle of P^T U U^T P for orthonormal columns U, entries off the diagonal times the root of 2."""
    sketch = random.T @ (vectors @ vectors.T) @ random
    pairs = [(i, j) for i in range(WIDTH) for j in range(i, WIDTH)]
    return {f"p{i}p{j}": sketch[i, j] * (1 if i == j else np.sqrt(2)) for i, j in pairs}


def spanned(dw: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """The left and the right singular vectors of dW whose values are no rounding noise, as columns."""
    left, _, right = np.linalg.svd(dw, full_matrices=False)
    count = int(np.sum(singular_values(dw, rank) > 0))
    return left[:, :count], right[:count].T


def up_projector(dw: Matrix, rank: int, path: str) -> Values:
    return sketch_of_projector(spanned(dw, rank)[0], signs(path, "left", dw.shape, dw.shape[0]))


def down_projector(dw: Matrix, rank: int, path: str) -> Values:
    return sketch_of_projector(spanned(dw, rank)[1], signs(path, "right", dw.shape, dw.shape[1]))


def dw_projector(dw: Matrix, rank: int, path: str) -> Values:
    left, right = spanned(dw, rank)
    return {
        **{f"u{i}": value for i, value in enumerate(np.sum(left**2, axis=1))},
        **{f"v{j}": value for j, value in enumerate(np.sum(right**2, axis=1))},
        **{f"u_{name}": value for name, value in up_projector(dw, rank, path).items()},
        **{f"v_{name}": value for name, value in down_projector(dw, rank, path).items()},
    }


def dw_gram_probe(dw: Matrix, rank: int, path: str) -> Values:
    found = {}
    for side, purpose, x in (("p", "left", dw), ("q", "right", dw.T)):
        vectors = signs(path, purpose, dw.shape, len(x))
        for i in range(WIDTH):
            for j in range(i, WIDTH):
                answer = vectors[:, i] @ (x @ (x.T @ vectors[:, j]))
                found[f"{side}{i}{side}{j}"] = np.sign(answer) * np.sqrt(abs(answer))
    return found


def layer_coupling(dw: Matrix, rank: int, path: str) -> Values:
    if dw.shape[0] != dw.shape[1]:
        return {}
    unit = normalised(dw)
    return {
        "trace": ratio(np.trace(unit), np.sum(singular_values(unit, rank))),
        "symmetry": ratio(np.sum(unit * unit.T), np.sum(unit**2)),
        "overlap": ratio(np.sum((unit @ unit) ** 2), np.sum((unit @ unit.T) ** 2)),
    }


def coupling_of_pair(one: Matrix, two: Matrix) -> Values:
    a, b = normalised(one), normalised(two)
    sizes = np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T)
    return {
        "cosine": ratio(np.sum(a * b), np.linalg.norm(a) * np.linalg.norm(b)),
        "reads": ratio(np.sum((a @ b.T) ** 2), sizes),
        "writes": ratio(np.sum((a.T @ b) ** 2), sizes),
    }


ORACLES: dict[str, Callable[[Matrix, int, str], Values]] = {
    "dw_spectrum": dw_spectrum,
    "dw_singular_values": dw_singular_values,
    "dw_norms": dw_norms,
    "dw_energy": dw_energy,
    "dw_sketch": dw_sketch,
    "dw_canonical": dw_canonical,
    "dw_gram_probe": dw_gram_probe,
    "up_projector": up_projector,
    "down_projector": down_projector,
    "dw_projector": dw_projector,
    "layer_coupling": layer_coupling,
}


def normalised(dw: Matrix) -> Matrix:
    """dW over its largest entry, so that fourth powers stay in float64."""
    return dw / (np.max(np.abs(dw)) or 1.0)


def words(path: str, purpose: str, shape: tuple[int, ...], count: int) -> list[int]:
    """The fixed 64-bit words of a module."""
    key = xxhash.xxh3_128_hexdigest(f"{purpose} {path} {shape[0]} {shape[1]}".encode())
    return [int(word) for word in np.random.Philox(key=int(key, 16)).random_raw(count)]


def signs(path: str, purpose: str, shape: tuple[int, ...], length: int) -> Matrix:
    """(length, 16) of signs over the root of 16, bit by bit, the lowest first."""
    bits = [word >> i & 1 for word in words(path, purpose, shape, -(-length * WIDTH // 64)) for i in range(64)]
    return np.array(bits[: length * WIDTH]).reshape(length, WIDTH) * (2 / np.sqrt(WIDTH)) - 1 / np.sqrt(WIDTH)
