"""Second-order probes of the update dW = s B A: what dW dW^T and dW^T dW make of fixed vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import columns
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.modules import Modules
from lora_perf.representations.updates.sketch import projected

_PAIRS = [(i, j) for i in range(SKETCH_WIDTH) for j in range(i, SKETCH_WIDTH)]
_NAMES = tuple(f"{side}{i}{side}{j}" for side in "pq" for i, j in _PAIRS)


@of_modules("dw_gram_probe", lambda _: _NAMES, drawn=True)
def dw_gram_probe(x: Modules) -> Tensor:
    """Answers of dW dW^T to the 16 fixed vectors p_i of `dw_sketch`, and of dW^T dW to its q_i: 272 numbers a module.

    Each answer dW dW^T p_j is read by all p_i: the symmetric p_i^T dW dW^T p_j, of which each is there once, as its root with
    its sign, so that features grow with dW and not with its square. No sign, order or gauge of components is left, at any rank;
    unlike in the projectors, directions count by the squares of their singular values. Ridge reads .865 of `digits` and .980 of
    `digits-shared`, without the roots .810 and .955. Whole answers (m numbers each) to one, two and four vectors a side read
    .670, .740 and .865 of `digits`, but four are 399,000 numbers for Stable Diffusion 1.5, where these are 17,408.

    Source: MVProbe (2026, arXiv 2605.23410) probes a layer X by X u and, to the second order, by X X^T u and X^T X u, with
        vectors that it learns; these are fixed.
    Cost: two Gram matrices, 16 (m + k) r multiplications, and products of r x r matrices.
    """
    left = _answers(projected(x.up, x.fixed.left), x.down_gram) * (x.factor * x.down_scale).square()[:, None]
    right = _answers(projected(x.down, x.fixed.right), x.up_gram) * (x.factor * x.up_scale).square()[:, None]
    return columns(*(one.sign() * one.abs().sqrt() for one in (left, right)))


def _answers(vectors: Tensor, gram: Tensor) -> Tensor:
    """(q, 136) upper triangles of F G F^T, of F (q, 16, r) and symmetric G (q, r, r)."""
    rows, others = torch.tensor(_PAIRS, device=gram.device).unbind(1)
    answers: Tensor = (vectors @ gram @ vectors.mT)[:, rows, others]
    return answers
