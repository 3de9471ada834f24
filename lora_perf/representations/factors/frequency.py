"""The two-dimensional Fourier spectrum of a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.representations.factors import kernels
from lora_perf.representations.factors.matrices import Matrices, columns, ratio
from lora_perf.representations.kinds import of_matrices

_KEPT = 10


@of_matrices("frequency", (*(f"top{i}" for i in range(_KEPT)), "mean", "std", "max", "energy_share"))
def frequency(x: Matrices) -> Tensor:
    """Of |fft2|: the ten largest magnitudes (zero padded), mean, population std, maximum, share of energy in those ten.

    The transform of real entries is symmetric, |F(u, v)| = |F(-u, -v)|, so half of it is computed: its inner columns
    stand for two frequencies each, column 0 (and the middle one where k is even) for one.

    Hides: max is top0 again, and most of the ten magnitudes stand there twice, once for each of two such frequencies. The
    channels of a factor have no order, but the transform takes one: where they are permuted, in the same way in all adapters
    of `digits`, features move by 16 % of their norm.
    """
    k = x.entries.shape[2]
    magnitudes = kernels.magnitudes(torch.fft.rfft2(x.unit))
    last = k // 2 + 1 if k % 2 else k // 2  # inner columns end here
    once = kernels.sort(torch.cat((magnitudes[..., :1], magnitudes[..., last:]), dim=2).flatten(1))
    twice = kernels.sort(magnitudes[..., 1:last].flatten(1))

    pairs = twice[:, -(_KEPT // 2) :] if twice.shape[1] else twice
    candidates = torch.cat((pairs, pairs, once[:, -_KEPT:]), dim=1)
    top = candidates.sort(dim=1, descending=True).values[:, :_KEPT].double()
    top = torch.nn.functional.pad(top, (0, _KEPT - top.shape[1]))

    mean = (kernels.sums(once) + 2 * kernels.sums(twice)) / x.count
    centre = mean.float()[:, None]
    once_off, twice_off = once - centre, twice - centre
    spread = (kernels.dots(once_off, once_off) + 2 * kernels.dots(twice_off, twice_off)) / x.count
    energy = kernels.dots(once, once) + 2 * kernels.dots(twice, twice)
    share = ratio(top.square().sum(dim=1), energy).clamp_(max=1)
    scale = x.scale[:, None]
    return columns(top * scale, mean * x.scale, spread.sqrt_() * x.scale, top[:, 0] * x.scale, share)
