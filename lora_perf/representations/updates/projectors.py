"""What an update spans: projectors U U^T and V V^T of dW = U S V^T, without sign, order or gauge.

The columns of dW span what those of B do, and its rows what those of A do, wherever both factors have full rank. So each side
alone says the direction that training gave to one factor, which its entries say but for a sign (at rank 1) or a basis (above).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.factors.kernels import eigenvectors
from lora_perf.representations.factors.matrices import columns, ratio
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.modules import Modules, without_noise

_PAIRS = [(i, j) for i in range(SKETCH_WIDTH) for j in range(i, SKETCH_WIDTH)]
_NAMES = tuple(f"p{i}p{j}" for i, j in _PAIRS)


@of_modules("up_projector", lambda _: _NAMES, drawn=True)
def up_projector(x: Modules) -> Tensor:
    """P^T (U U^T) P with the fixed random signs P (m, 16) of `dw_sketch`: 136 numbers a module, of what B spans.

    Of no scale and any rank, so that adapters of several can be compared. Entries off the diagonal are times the root of 2:
    inner products of features are then those of the sketches, in expectation |U1^T U2|^2 and a constant.

    Source: sign-free projectors are those of Diffusion-LoRAcle, which takes their diagonals; here they are sketched. On
    `digits` ridge reads .79 of the sketch where the whole u u^T gives .94.
    Cost: as `dw_projector`.
    """
    return columns(_sketched(_singular_vectors(x)[0], x.fixed.left))


@of_modules("down_projector", lambda _: _NAMES, drawn=True)
def down_projector(x: Modules) -> Tensor:
    """Q^T (V V^T) Q with the fixed random signs Q (k, 16) of `dw_sketch`: as `up_projector`, of what A spans.

    Where training leaves A near its random start it tells that start, and nothing of the class.
    """
    return columns(_sketched(_singular_vectors(x)[1], x.fixed.right))


def _projector_names(module: Module) -> tuple[str, ...]:
    m, k = module.shape
    diagonals = (*(f"u{i}" for i in range(m)), *(f"v{j}" for j in range(k)))
    return (*diagonals, *(f"u_{name}" for name in _NAMES), *(f"v_{name}" for name in _NAMES))


@of_modules("dw_projector", _projector_names, drawn=True)
def dw_projector(x: Modules) -> Tensor:
    """Diagonals of U U^T and V V^T of dW = U S V^T, m + k numbers, then the sketches of both as `up_projector` makes them.

    Sign free, of any rank, and without the singular values: each direction that dW uses counts the same. The diagonals say how
    much of each row and column lies in what dW spans. Singular values up to the tolerance of `dw_spectrum` count as none.

    Source: the diagonals are the features of Diffusion-LoRAcle.

    Cost: two Gram matrices, two r x r eigendecompositions, products of the factors with r x r matrices and with 16 vectors.
    """
    left, right = _singular_vectors(x)
    diagonals = left.square().sum(dim=2), right.square().sum(dim=2)
    return columns(*diagonals, _sketched(left, x.fixed.left), _sketched(right, x.fixed.right))


def _singular_vectors(x: Modules) -> tuple[Tensor, Tensor]:
    """(q, m, c) and (q, k, c) singular vectors of dW, largest value first; zeros where a value is rounding noise."""
    values, vectors = x.up_roots
    noise = values <= values.shape[1] * torch.finfo(torch.float64).eps * values[:, -1:]
    roots = values.masked_fill(noise, 0).sqrt_()[:, None, :]
    squares, turns = eigenvectors(x.core)
    squares, turns = squares.flip(1)[:, : x.c], turns.flip(2)[:, :, : x.c]
    unit = without_noise(squares.clamp(min=0).sqrt_(), x.tolerance)[:, None, :]
    left = (x.up * x.up_scale.reciprocal()[:, None, None]) @ (vectors * ratio(torch.ones_like(roots), roots) @ turns)
    right = (x.down * x.down_scale.reciprocal()[:, None, None]) @ (vectors * roots @ turns * ratio(torch.ones_like(unit), unit))
    return left * (unit > 0), right


def _sketched(basis: Tensor, vectors: Tensor) -> Tensor:
    """(q, 136) upper triangles of P^T U U^T P, for U (q, i, r) and the vectors P (g, i, 16) of their modules."""
    of_modules = basis.unflatten(0, (len(vectors), -1))
    projected = torch.cat([one.mT @ some for one, some in zip(vectors, of_modules, strict=True)])
    gram = projected @ projected.mT
    rows, others = torch.tensor(_PAIRS, device=gram.device).unbind(1)
    weights = torch.where(rows == others, 1.0, 2.0**0.5).to(gram)
    return gram[:, rows, others] * weights
