"""The canonical form of an update: its singular vectors, of which train rows decide the signs."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.factors.kernels import eigenvectors
from lora_perf.representations.factors.matrices import columns, ratio
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.learned.settled import settled
from lora_perf.representations.updates.fixed import FixedVectors
from lora_perf.representations.updates.modules import Modules, without_noise
from lora_perf.representations.updates.spectra import rank_of

# Of train rows, or entries of a vector: eigenvectors of a matrix of this size take 10 ms a module and component. On `digits`,
# whose vectors have 32 entries, 256 of the 700 train rows read as much as all: .870 to .910 by the draw, .895.
_MOST = 256


def _names(module: Module) -> tuple[str, ...]:
    m, k = module.shape
    c = rank_of(module)
    return (*(f"u{i}_{j}" for i in range(c) for j in range(m)), *(f"v{i}_{j}" for i in range(c) for j in range(k)))


@of_modules("dw_canonical", _names)
def components(x: Modules) -> Tensor:
    """The columns sqrt(s_i) u_i of all i, then sqrt(s_i) v_i, of dW = U S V^T; each pair (u_i, v_i) with either sign.

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
    return columns(left.mT.flatten(1), right.mT.flatten(1))


@settled("dw_canonical", components)
def dw_canonical(values: Tensor, module: Module, train: Tensor, seed: int) -> None:
    """Singular vectors of dW weighted by the roots of their values: the columns sqrt(s_i) u_i, then sqrt(s_i) v_i.

    Their products are dW again, and both factors weigh the same. Components come by decreasing singular value; those up to the
    tolerance of `dw_spectrum` are 0.

    Sign: it is fitted to the train rows. u_i has a positive inner product with the leading eigenvector of the sum of u_i u_i^T
    over the train rows (where vectors are longer than 256, over 256 of the rows, drawn by the seed), and v_i follows; that
    eigenvector itself points to the side of a fixed random vector of the module (see `fixed`). A fixed random vector in its
    place is nearly orthogonal to most u_i, so that alike adapters get unlike signs: ridge reads .640 of `digits` then, .895 by
    the train rows. Any rule jumps somewhere: this one where u_i is nearly orthogonal to what the train rows have in common.
    Where two singular values are nearly equal their components mix: a perturbation e of dW turns u_i by up to |e| / gap.

    Cost: a pass of two Gram matrices, two r x r eigendecompositions and two products of a factor with an r x r matrix for each
        update; then eigenvectors of a matrix of at most 256 x 256 for each module and component.
    Source: signs by inner products with the data are those of Bro, Acar, Kolda (2008), here with the train data.
    """
    m, c = module.shape[0], rank_of(module)
    if m > _MOST and len(train) > _MOST:
        train = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:_MOST]]
    left, right = (side.unflatten(1, (c, -1)) for side in (values[:, : c * m], values[:, c * m :]))
    fixed = FixedVectors([module], torch.device("cpu")).poles[0]
    learned = left.index_select(0, train.to(values.device)).double().cpu()
    for i in range(c):
        pole = leading_direction(learned[:, i], fixed)
        signs = torch.where(left[:, i] @ pole.to(left) < 0, -1.0, 1.0).to(left)[:, None]
        left[:, i] *= signs
        right[:, i] *= signs


def leading_direction(vectors: Tensor, side: Tensor) -> Tensor:
    """(m,) the leading eigenvector of the sum of u u^T over vectors (q, m), each divided by its length; zeros do not count.

    It is found by the smaller of both Gram matrices, has a positive inner product with `side` (m,), and is `side` where all
    vectors are zero.
    """
    lengths = vectors.norm(dim=1)
    units = vectors[lengths > 0] / lengths[lengths > 0, None]
    q, m = units.shape
    if q == 0:
        return side
    if m <= q:
        pole: Tensor = torch.linalg.eigh(units.mT @ units)[1][:, -1]
    else:
        pole = torch.nn.functional.normalize(torch.linalg.eigh(units @ units.mT)[1][:, -1] @ units, dim=0)
    return pole if pole @ side >= 0 else -pole
