"""Norms of a matrix and their ratios."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import Matrices, columns, ratio
from lora_perf.representations.kinds import of_matrices

_NORMS = ("frobenius", "nuclear", "spectral", "max_column_sum", "max_row_sum")


@of_matrices("matrix_norms", (*_NORMS, "nuclear_over_frobenius", "spectral_over_frobenius"))
def matrix_norms(x: Matrices) -> Tensor:
    """Frobenius, nuclear, spectral, 1- and infinity-norm, and the first two ratios to Frobenius.

    Hides: at rank 1 the first three are one number and both ratios are 1, so that 3 of the 7 differ.
    """
    frobenius = x.unit_frobenius * x.scale
    nuclear = x.singular_values.sum(dim=1)
    largest = x.singular_values[:, 0]
    if x.entries.shape[1] == 1:
        over_columns = torch.maximum(x.low.abs(), x.high.abs()).double()
        over_rows = x.unit.abs().sum(dim=(1, 2)) * x.scale
    else:
        absolute = x.unit.abs()
        over_columns = absolute.sum(dim=1).amax(dim=1) * x.scale
        over_rows = absolute.sum(dim=2).amax(dim=1) * x.scale
    return columns(
        frobenius,
        nuclear,
        largest,
        torch.where(x.transposed, over_rows, over_columns),
        torch.where(x.transposed, over_columns, over_rows),
        ratio(nuclear, frobenius),
        ratio(largest, frobenius),
    )
