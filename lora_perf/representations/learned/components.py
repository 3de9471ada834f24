"""Leading eigenvectors of inner products: what PCA and kernel PCA have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError

# Of PCA and kernel PCA by default. Measured on `digits`, a linear probe of dw_kernel is at its best from 32 to 256 components
# (0.99 to 0.97) and loses two per cent with all 699; more would also outgrow the classifier's 512 units.
COMPONENTS = 256


def leading(gram: Tensor, energy: float, dimensions: int | None, most: int = COMPONENTS) -> tuple[Tensor, Tensor]:
    """Eigenvalues (d,), descending, and eigenvectors (q, d) of the inner products (q, q) of centred rows.

    d is `dimensions`, or the smaller of `most` and the rank of the rows. An eigenvector's sign is such that the sum of
    its cubes is positive: the longer tail of the train scores points upwards, and no single row decides.

    Args:
        gram: float64.
        energy: the mean squared norm of the rows before they were centred, the scale of their rounding.
    """
    q = len(gram)
    most = min(q, dimensions or most)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[-most:].flip(0), vectors[:, -most:].flip(1)
    rank = int((values > q * torch.finfo(torch.float64).eps * max(energy, float(values[0]))).sum())
    if rank == 0:
        raise LoraPerfError(
            expected="train adapters that differ", found=f"{q} equal ones", fix="choose other layers or other train rows"
        )
    if dimensions is not None and dimensions > rank:
        raise LoraPerfError(
            expected=f"at most {rank} dimensions, the number of directions in which the train adapters differ",
            found=str(dimensions),
            fix="ask for fewer, or leave the number out",
        )
    values, vectors = values[:rank], vectors[:, :rank]
    return values, vectors * torch.where(vectors.pow(3).sum(dim=0) < 0, -1.0, 1.0)
