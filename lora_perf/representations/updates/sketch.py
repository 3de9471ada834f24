"""A random sketch of the update dW = s B A."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import columns
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.modules import Modules

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
    left, right = projected(x.up, x.fixed.left), projected(x.down, x.fixed.right)
    return columns((left @ right.mT * x.factor[:, None, None]).flatten(1))


def projected(factor: Tensor, vectors: Tensor) -> Tensor:
    """(q, 16, r) products of the factors (q, i, r) with the vectors (g, i, 16) of their modules."""
    of_modules = factor.unflatten(0, (len(vectors), -1))
    return torch.cat([torch.bmm(one.mT.expand(len(some), -1, -1), some) for one, some in zip(vectors, of_modules, strict=True)])
