"""Coordinates of the update dW = s B A: a random sketch, and a canonical form of its factors."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.factors.kernels import eigenvectors
from lora_perf.representations.factors.matrices import columns, ratio
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.modules import Modules, without_noise
from lora_perf.representations.updates.spectra import rank_of

_NAMES = tuple(f"p{i}q{j}" for i in range(SKETCH_WIDTH) for j in range(SKETCH_WIDTH))


@of_modules("dw_sketch", lambda _: _NAMES)
def dw_sketch(x: Modules) -> Tensor:
    """P^T dW Q with fixed random signs P (m, 16) and Q (k, 16) over the root of 16: 256 numbers a module, linear in dW.

    Inner products of sketches are those of the updates in expectation (Johnson and Lindenstrauss; the signs are
    Achlioptas's). The squared norm of a rank-1 update is off by sqrt((1 + 2/16)^2 - 1) = 52 % (standard deviation) in one
    module, which for the 64 modules of Stable Diffusion 1.5 leaves 6 % of an adapter's, in 16,384 numbers instead of 99,648.
    Half the width, a quarter of the numbers, cost a classifier up to ten points of accuracy on the zoo `digits`.
    P and Q follow from the module's name and shape alone (see `fixed`), so sketches of different zoos can be compared.

    Cost: 16 (m + k) r multiplications an update.
    """
    left, right = _projected(x.up, x.fixed.left), _projected(x.down, x.fixed.right)
    return columns((left @ right.mT * x.factor[:, None, None]).flatten(1))


def _projected(factor: Tensor, vectors: Tensor) -> Tensor:
    """(q, 16, r) products of the factors (q, i, r) with the vectors (g, i, 16) of their modules."""
    of_modules = factor.unflatten(0, (len(vectors), -1))
    return torch.cat([torch.bmm(one.mT.expand(len(some), -1, -1), some) for one, some in zip(vectors, of_modules, strict=True)])


def _canonical_names(module: Module) -> tuple[str, ...]:
    m, k = module.shape
    c = rank_of(module)
    return (*(f"u{i}_{j}" for i in range(c) for j in range(m)), *(f"v{i}_{j}" for i in range(c) for j in range(k)))


@of_modules("dw_canonical", _canonical_names)
def dw_canonical(x: Modules) -> Tensor:
    """Singular vectors of dW = U S V^T weighted by the roots of their values: the columns sqrt(s_i) u_i, then sqrt(s_i) v_i.

    Their products are dW again, and both factors weigh the same. Components come by decreasing singular value.
    Sign: u_i has a positive inner product with a fixed random vector of the module (see `fixed`), v_i follows. Any rule jumps
    somewhere: here where u_i is nearly orthogonal to that vector. One that asks for the sign of the largest entry jumps
    where two entries are nearly as large, which is far more common: here, errors of 1e-6 flip one component in a million.
    Where two singular values are nearly equal their components swap or mix: a perturbation e of dW turns u_i by up to
    |e| / gap. Components up to the tolerance of `dw_spectrum` are 0.

    Cost: two Gram matrices, two r x r eigendecompositions, two products of a factor with an r x r matrix.
    """
    values, vectors = x.up_roots
    noise = values <= values.shape[1] * torch.finfo(torch.float64).eps * values[:, -1:]
    roots = values.masked_fill(noise, 0).sqrt_()[:, None, :]
    squares, turns = eigenvectors(x.core)
    squares, turns = squares.flip(1)[:, : x.c], turns.flip(2)[:, :, : x.c]
    unit = without_noise(squares.clamp(min=0).sqrt_(), x.tolerance)[:, None, :]
    # u = B/up_scale (vectors / roots) turns, v = dW^T u / s; each times the root of its singular value in true scale.
    weight = x.scale.sqrt()[:, None, None]
    to_left = vectors * ratio(torch.ones_like(roots), roots) @ turns * (unit.sqrt() * weight)
    to_right = vectors * roots @ turns * (ratio(torch.ones_like(unit), unit).sqrt_() * weight)
    left = (x.up * x.up_scale.reciprocal()[:, None, None]) @ to_left
    right = (x.down * (x.factor.sign() / x.down_scale)[:, None, None]) @ to_right
    poles = x.fixed.poles.repeat_interleave(len(left) // len(x.fixed.poles), dim=0)
    signs = torch.where((poles[:, None, :] @ left) < 0, -1.0, 1.0).to(left)
    return columns((left * signs).mT.flatten(1), (right * signs).mT.flatten(1))
