"""The update dW = s B A of a module: its spectrum, its norms, and how its energy is spread over rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.factors.matrices import columns, ratio
from lora_perf.representations.factors.spectral import entropy
from lora_perf.representations.kinds import of_modules
from lora_perf.representations.updates.modules import Modules

_SMALLEST = torch.finfo(torch.float32).tiny


def rank_of(module: Module) -> int:
    """The number of singular values of dW that may differ from 0: the rank, or the smaller side of dW where that is less."""
    return min(module.rank, *module.shape)


def _spectrum_names(module: Module) -> tuple[str, ...]:
    c = rank_of(module)
    return (
        *(f"sv{i}" for i in range(c)),
        *(f"share{i}" for i in range(c)),
        *(f"gap{i}" for i in range(c - 1)),
        *(f"log{i}" for i in range(c)),
        *("entropy", "effective_rank", "stable_rank", "condition", "rank"),
    )


@of_modules("dw_spectrum", _spectrum_names)
def dw_spectrum(x: Modules) -> Tensor:
    """Singular values s_i of dW, their shares of the sum, relative gaps and logarithms; measures of how many there are.

    entropy: of the shares, in nats; effective_rank: its exponential; stable_rank: sum s_i^2 / s_0^2; condition: s_0 over the
    smallest value above the tolerance; rank: how many are above it. Values up to the tolerance max(m, k, 128) eps s_0 count
    as 0, and logarithms end there (and at float32's smallest normal number).

    Cost and accuracy: those of `Modules.unit_singular_values`. dW is not formed; 1,000 pairs are computed in a few calls.
    """
    unit = x.unit_singular_values
    values = unit * x.scale[:, None]
    largest = values[:, :1]
    shares = ratio(unit, unit.sum(dim=1, keepdim=True).expand_as(unit))
    gaps = ratio(unit[:, :-1] - unit[:, 1:], unit[:, :-1])
    logs = torch.maximum(values, x.tolerance * largest).clamp_(min=_SMALLEST).log_()
    spread = entropy(shares)
    some = largest[:, 0] > 0
    squares = unit.square()
    smallest = torch.where(unit > 0, unit, unit[:, :1]).amin(dim=1)
    return columns(
        values,
        shares,
        gaps,
        logs,
        spread,
        torch.where(some, spread.exp(), 0),
        ratio(squares.sum(dim=1), squares[:, 0]),
        ratio(unit[:, 0], smallest),
        (unit > 0).sum(dim=1).double(),
    )


@of_modules("dw_singular_values", lambda module: tuple(f"sv{i}" for i in range(rank_of(module))))
def dw_singular_values(x: Modules) -> Tensor:
    """The singular values of dW, largest first: those of `dw_spectrum` alone, as DSiRe (2024, arXiv 2406.19395) reads them.

    Cost and accuracy: those of `Modules.unit_singular_values`.
    """
    return columns(x.unit_singular_values * x.scale[:, None])


_NORMS = ("frobenius", "nuclear", "spectral", "max_row", "max_column", "mean")
_NORM_NAMES = (*_NORMS, *(f"{norm}_over_frobenius" for norm in _NORMS[1:5]))


@of_modules("dw_norms", lambda _: _NORM_NAMES)
def dw_norms(x: Modules) -> Tensor:
    """Norms of dW: Frobenius, nuclear, spectral, longest row and column; the mean of its entries; ratios to Frobenius.

    Cost: the Gram matrices of both factors, singular values, and two products of a factor with an r x r matrix.
    """
    unit = x.unit_singular_values
    frobenius = x.unit_frobenius * x.scale
    nuclear = unit.sum(dim=1)
    longest = [energies.amax(dim=1).sqrt_() for energies in (x.row_energies, x.column_energies)]
    total = (x.up.sum(dim=1) * x.down.sum(dim=1)).sum(dim=1) * x.factor
    return columns(
        frobenius,
        nuclear * x.scale,
        unit[:, 0] * x.scale,
        *longest,
        total / (x.m * x.k),
        ratio(nuclear, x.unit_frobenius),
        ratio(unit[:, 0], x.unit_frobenius),
        *(ratio(one, frobenius) for one in longest),
    )


def _energy_names(module: Module) -> tuple[str, ...]:
    m, k = module.shape
    return (*(f"row{i}" for i in range(m)), *(f"column{j}" for j in range(k)))


@of_modules("dw_energy", _energy_names)
def dw_energy(x: Modules) -> Tensor:
    """Squared norms of the m rows and of the k columns of dW: diag(B (A A^T) B^T) and diag(A^T (B^T B) A).

    No sign, no order of components and no gauge is left in them, at any rank; both add up to the squared Frobenius norm.

    Cost: two Gram matrices and two products of a factor with one, 2 (m + k) r^2 multiplications.
    """
    return columns(x.row_energies, x.column_energies)
