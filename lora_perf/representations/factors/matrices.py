"""A batch of matrices of one shape, with the quantities that representations share, each computed once.

Axes: q matrices (adapters x layers of one shape), r x k with r <= k, K = r k entries. All sums run over entries that
were divided by a power of two near the largest one, which is exact, so that neither 1e-20 nor 1e20 leaves float32.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from lora_perf.representations.factors import kernels
from lora_perf.representations.factors.kernels import eigenvalues


class Matrices:
    """q matrices (q, r, k) of finite float32, r <= k; taller ones come transposed. What a function of `factors` is given.

    Each quantity is computed when it is first asked for, then shared by all functions of the batch: read it, do not write into
    it. Those that start with `unit` are of the matrix over its `scale`, a power of two, and never leave float32.

    - of the entries: `entries`, `sorted` (q, K), `low`, `high`, `constant`, `quantile(level)`, `count` (K, a number)
    - moments (q,): `mean`, `std`, `skewness`, `kurtosis`; `unit_mean`, `unit_centred` (q, K), `unit_moments` (three)
    - norms and spectrum: `unit_frobenius` (q,), `singular_values` (q, r), largest first
    - scaling: `scale` (q,) float64, `exponent` (q,), `unit` (q, r, k)

    Args:
        entries: (q, r, k), contiguous.
        transposed: (q,) bool, which of them are transposes of the matrices they stand for.

    >>> x = Matrices(torch.tensor([[[3.0, 4.0]], [[1.0, 1.0]]]), torch.tensor([False, False]))
    >>> x.singular_values[:, 0].tolist(), x.mean.tolist()
    ([5.0, 1.41...], [3.5, 1.0])
    """

    def __init__(self, entries: Tensor, transposed: Tensor) -> None:
        self.entries = entries
        self.transposed = transposed
        self.count = entries.shape[1] * entries.shape[2]

    @cached_property
    def sorted(self) -> Tensor:
        """(q, K) entries in ascending order."""
        return kernels.sort(self.entries.reshape(len(self.entries), self.count))

    @cached_property
    def low(self) -> Tensor:
        """(q,) smallest entry."""
        return self.sorted[:, 0]

    @cached_property
    def high(self) -> Tensor:
        """(q,) largest entry."""
        return self.sorted[:, -1]

    @cached_property
    def constant(self) -> Tensor:
        """(q,) bool: all entries are equal."""
        return self.low == self.high

    @cached_property
    def exponent(self) -> Tensor:
        """(q,) int32: 2^exponent is the scale of a matrix, its largest entry is between 1 and 2 times that."""
        largest = torch.maximum(self.low.abs(), self.high.abs())
        return torch.frexp(largest).exponent.sub(1).clamp(-126, 126).masked_fill(largest == 0, 0)

    @cached_property
    def scale(self) -> Tensor:
        """(q,) float64 power of two."""
        return torch.ldexp(torch.ones_like(self.exponent, dtype=torch.float64), self.exponent)

    @cached_property
    def _inverse(self) -> Tensor:
        return self.scale.reciprocal().float()

    @cached_property
    def unit(self) -> Tensor:
        """(q, r, k) entries divided by the scale."""
        return self.entries * self._inverse[:, None, None]

    @cached_property
    def _unit_sorted(self) -> Tensor:
        return self.sorted * self._inverse[:, None]

    @cached_property
    def unit_mean(self) -> Tensor:
        """(q,) float64 mean of the scaled entries, summed in float64."""
        return kernels.sums(self._unit_sorted) / self.count

    @cached_property
    def unit_centred(self) -> Tensor:
        """(q, K) scaled entries minus their mean, the mean's rounding to float32 taken off in a second step."""
        rounded = self.unit_mean.float()
        rest = (self.unit_mean - rounded).float()
        return (self._unit_sorted - rounded[:, None]).sub_(rest[:, None])

    @cached_property
    def unit_moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Second, third and fourth central moments (q,) of the scaled entries, float64."""
        first = self.unit_centred
        second = first * first
        sums = (kernels.dots(first, first), kernels.dots(second, first), kernels.dots(second, second))
        m2, m3, m4 = (one.div_(self.count).masked_fill_(self.constant, 0) for one in sums)
        return m2, m3, m4

    @cached_property
    def unit_frobenius(self) -> Tensor:
        """(q,) float64 Frobenius norm of the scaled matrix."""
        flat = self._unit_sorted
        return kernels.dots(flat, flat).sqrt_()

    @cached_property
    def mean(self) -> Tensor:
        return self.unit_mean * self.scale

    @cached_property
    def std(self) -> Tensor:
        """(q,) population standard deviation."""
        return self.unit_moments[0].sqrt() * self.scale

    @cached_property
    def skewness(self) -> Tensor:
        """(q,) m3 / m2^1.5, 0 for a constant matrix."""
        m2, m3, _ = self.unit_moments
        return ratio(m3, m2**1.5)

    @cached_property
    def kurtosis(self) -> Tensor:
        """(q,) m4 / m2^2 - 3 (excess), 0 for a constant matrix."""
        m2, _, m4 = self.unit_moments
        excess = ratio(m4, m2 * m2) - 3
        return excess.masked_fill_(m2 == 0, 0)

    @cached_property
    def singular_values(self) -> Tensor:
        """(q, r) float64 singular values, largest first.

        Cost: the r x r Gram matrix in float64, r^2 k multiplications, then its eigenvalues; one square root of a sum at r = 1.
        Values below 1e-8 of the largest are noise; the entries' own rounding hides them anyway.
        """
        if self.entries.shape[1] == 1:
            return (self.unit_frobenius * self.scale)[:, None]
        unit = self.unit.double()
        squares = eigenvalues(unit @ unit.mT)
        return squares.flip(1).clamp_(min=0).sqrt_() * self.scale[:, None]

    def quantile(self, level: float) -> Tensor:
        """(q,) quantile of the entries, interpolated linearly between order statistics (Hyndman and Fan's type 7)."""
        place = level * (self.count - 1)
        below = int(place)
        above = min(below + 1, self.count - 1)
        lower = self.sorted[:, below].double()
        return torch.lerp(lower, self.sorted[:, above].double(), place - below)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0."""
    nothing = denominator == 0
    return (numerator / denominator.masked_fill(nothing, 1)).masked_fill_(nothing, 0)


def columns(*features: Tensor) -> Tensor:
    """(q, f) float32 of features (q,) or (q, i), saturated at the largest float32."""
    table = torch.cat([feature if feature.ndim == 2 else feature[:, None] for feature in features], dim=1)
    largest = torch.finfo(torch.float32).max
    return table.clamp_(-largest, largest).float()
