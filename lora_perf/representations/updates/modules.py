"""A batch of updates dW = s B A of one shape, with the quantities that representations share, each computed once.

dW is never formed. What is known of it comes from the factors: products of matrices as tall as a factor cost O((m + k) r^2),
all the rest is r x r. Everything is float64: Gram matrices square the condition of a factor, which float32 cannot bear.

Axes: q updates (modules of one shape x adapters, module by module), up B (m, r), down A (r, k), at most c = min(r, m, k)
singular values. Gram matrices are divided by a power of four near their trace, so that no product of them leaves float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lora_perf.representations.factors.kernels import eigenvalues, eigenvectors
from lora_perf.representations.updates.fixed import FixedVectors

_RESOLUTION = 128  # times float32's eps: singular values below that of the largest lose digits in Gram matrices


class Modules:
    """q updates dW = s B A. What a function of `updates` is given.

    Each quantity is computed when it is first asked for, then shared by all functions of the batch: read it, do not write into
    it. Those that start with `unit` are of dW over its `scale`; multiply by it to have them of dW.

    - factors: `up` (q, m, r), `down` (q, k, r), `factor` (q,); numbers `m`, `k`, `c`
    - norms and spectrum: `unit_frobenius` (q,), `unit_singular_values` (q, c), largest first, `tolerance` (a number)
    - energies, squared norms of rows (q, m) and columns (q, k) of dW: `row_energies`, `column_energies`
    - inside: `up_gram`, `down_gram` (q, r, r), `up_roots` (eigenvalues and vectors), `core` (q, r, r)
    - scaling (q,): `scale`, `up_scale`, `down_scale`; `fixed`, random vectors of the modules

    Args:
        up: (q, m, r) float64, finite: B.
        down: (q, k, r) float64, finite: A transposed, so that both factors are tall.
        factor: (q,) float64: s.
        fixed: fixed random vectors of the modules; q is a multiple of their number.

    >>> up, down = torch.tensor([[[3.0], [4.0]]]).double(), torch.tensor([[[2.0], [0.0], [0.0]]]).double()
    >>> x = Modules(up, down, torch.ones(1).double(), FixedVectors([], torch.device("cpu")))
    >>> (x.unit_singular_values * x.scale[:, None]).tolist(), x.row_energies.tolist()
    ([[10.0]], [[36.0, 64.0]])
    """

    def __init__(self, up: Tensor, down: Tensor, factor: Tensor, fixed: FixedVectors) -> None:
        self.up = up
        self.down = down
        self.factor = factor
        self.fixed = fixed

    @property
    def m(self) -> int:
        return self.up.shape[1]

    @property
    def k(self) -> int:
        return self.down.shape[1]

    @property
    def c(self) -> int:
        """The number of singular values that may differ from 0."""
        return min(self.up.shape[2], self.m, self.k)

    @cached_property
    def _ups(self) -> tuple[Tensor, Tensor]:
        return _scaled(_gram(self.up).masked_fill_((self.factor == 0)[:, None, None], 0))

    @cached_property
    def _downs(self) -> tuple[Tensor, Tensor]:
        return _scaled(_gram(self.down))

    @property
    def up_gram(self) -> Tensor:
        """(q, r, r) B^T B over the square of `up_scale`; 0 where s is 0, for then dW is."""
        return self._ups[0]

    @property
    def up_scale(self) -> Tensor:
        """(q,) power of two near the Frobenius norm of B."""
        return self._ups[1]

    @property
    def down_gram(self) -> Tensor:
        """(q, r, r) A A^T over the square of `down_scale`."""
        return self._downs[0]

    @property
    def down_scale(self) -> Tensor:
        """(q,) power of two near the Frobenius norm of A."""
        return self._downs[1]

    @cached_property
    def scale(self) -> Tensor:
        """(q,) |s| times both scales: dW over it is what `unit_...` quantities are of."""
        return self.factor.abs() * self.up_scale * self.down_scale

    @cached_property
    def unit_frobenius(self) -> Tensor:
        """(q,) Frobenius norm: the root of the sum of (B^T B) * (A A^T), entry by entry."""
        return (self.up_gram * self.down_gram).sum(dim=(1, 2)).clamp_(min=0).sqrt_()

    @cached_property
    def up_roots(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (q, r), ascending, none negative, and eigenvectors (q, r, r) of `up_gram`."""
        values, vectors = eigenvectors(self.up_gram)
        return values.clamp_(min=0), vectors

    @cached_property
    def core(self) -> Tensor:
        """(q, r, r) symmetric, its eigenvalues are the squares of the singular values: R A A^T R^T with R^T R = B^T B."""
        values, vectors = self.up_roots
        root = vectors * values.sqrt()[:, None, :]
        return root.mT @ self.down_gram @ root

    @cached_property
    def unit_singular_values(self) -> Tensor:
        """(q, c) singular values, largest first; those up to the tolerance, which are rounding noise, are 0.

        The tolerance is max(m, k, 128) eps s0 with float32's eps: the convention of numpy.linalg.matrix_rank, with a floor.

        Cost: two Gram matrices, (m + k) r^2 multiplications, and eigenvalues of two r x r matrices; one product at r = 1.
        The error of a value s is about eps64 (|B| |A| / s)^2 of it: below 1e-5 wherever s is above 1e-5 of the product of
        the spectral norms of B and A, which is s0 unless large parts of B and A cancel in the product.
        """
        if self.up.shape[2] == 1:
            squares = self.up_gram[:, 0] * self.down_gram[:, 0]
        else:
            squares = eigenvalues(self.core).flip(1)[:, : self.c]
        return without_noise(squares.clamp(min=0).sqrt_(), self.tolerance)

    @property
    def tolerance(self) -> float:
        """Of singular values, relative to the largest."""
        return max(self.m, self.k, _RESOLUTION) * torch.finfo(torch.float32).eps

    @cached_property
    def row_energies(self) -> Tensor:
        """(q, m) squared norms of the rows of dW: the diagonal of B (A A^T) B^T."""
        return _energies(self.up, self.down_gram) * (self.factor * self.down_scale).square_()[:, None]

    @cached_property
    def column_energies(self) -> Tensor:
        """(q, k) squared norms of the columns of dW: the diagonal of A^T (B^T B) A."""
        return _energies(self.down, self.up_gram) * (self.factor * self.up_scale).square_()[:, None]


@dataclass(frozen=True, eq=False)
class Pairs:
    """q pairs of updates of one shape: `first` and `second` are positions (q,) among the updates."""

    updates: Modules
    first: Tensor
    second: Tensor

    def up_product(self) -> Tensor:
        """(q, r, r) B1^T B2 over both scales."""
        scales = self.updates.up_scale[self.first] * self.updates.up_scale[self.second]
        return divided(self.updates.up[self.first].mT @ self.updates.up[self.second], scales)

    def down_product(self) -> Tensor:
        """(q, r, r) A1 A2^T over both scales."""
        scales = self.updates.down_scale[self.first] * self.updates.down_scale[self.second]
        return divided(self.updates.down[self.first].mT @ self.updates.down[self.second], scales)


def without_noise(values: Tensor, tolerance: float) -> Tensor:
    """Singular values (q, c), largest first, 0 where they are up to the tolerance."""
    return values.masked_fill(values <= tolerance * values[:, :1], 0)


def divided(matrices: Tensor, scales: Tensor) -> Tensor:
    """(q, r, r) over (q,) powers of two."""
    return matrices * scales.reciprocal()[:, None, None]


def _gram(factor: Tensor) -> Tensor:
    # Where entries are not finite the pass ends with an error, on a GPU only after it; until then eigenvalues must exist.
    return (factor.mT @ factor).nan_to_num_(nan=0, posinf=0, neginf=0)


def _scaled(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The Gram matrix over the square of a power of two near the norm of the factor, and that power, 1 for zeros."""
    norm = gram.diagonal(dim1=1, dim2=2).sum(dim=1).sqrt_()
    scale = torch.ldexp(torch.ones_like(norm), torch.frexp(norm).exponent)
    return divided(gram, scale * scale), scale


def _energies(factor: Tensor, gram: Tensor) -> Tensor:
    """(q, i) diagonal of F G F^T for a factor F (q, i, r)."""
    if factor.shape[2] == 1:
        return factor[:, :, 0].square() * gram[:, 0]
    return ((factor @ gram) * factor).sum(dim=2).clamp_(min=0)
