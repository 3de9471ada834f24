"""The spectrum of a matrix: its singular values and their shape."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import Matrices, columns, ratio
from lora_perf.representations.kinds import of_matrices

_KEPT = 10


@of_matrices(
    "spectral",
    (
        *(f"sv{i}" for i in range(_KEPT)),
        *(f"share{i}" for i in range(_KEPT)),
        *(f"gap{i}" for i in range(_KEPT - 1)),
        "entropy",
        "condition",
        "nuclear",
    ),
)
def spectral(x: Matrices) -> Tensor:
    """Ten largest singular values (zero padded), their shares, relative gaps and entropy; condition number, nuclear norm.

    Singular values up to the numerical rank's tolerance, max(r, k) eps s0 (the convention of numpy.linalg.matrix_rank,
    with float32's eps), are rounding noise: gaps count them as 0, and the condition number ends above them.

    Hides: a factor of rank 1 has one singular value, its norm, twice among the 32 features (sv0, nuclear), and 30 constants:
    of the 768 columns of `digits` 24 differ. Shares and entropy are over the ten largest values, so that a matrix of rank 11
    or more may have the entropy of one of rank 10. Signs and directions are in none.
    """
    values = x.singular_values
    top = values[:, :_KEPT]
    top = torch.nn.functional.pad(top, (0, _KEPT - top.shape[1]))
    shares = ratio(top, top.sum(dim=1, keepdim=True).expand_as(top))
    largest = top[:, :1]
    tolerance = max(x.entries.shape[1:]) * torch.finfo(torch.float32).eps * largest
    above = top.masked_fill(top <= tolerance, 0)
    gaps = ratio(above[:, :-1] - above[:, 1:], above[:, :-1])
    smallest = torch.where(values > tolerance, values, largest).amin(dim=1)
    return columns(top, shares, gaps, entropy(shares), ratio(largest[:, 0], smallest), values.sum(dim=1))


def entropy(shares: Tensor) -> Tensor:
    """(q,) Shannon entropy in nats of shares (q, i)."""
    terms: Tensor = torch.special.entr(shares)
    return terms.sum(dim=1)
