"""The information content of a matrix's entries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lora_perf.representations.factors.matrices import Matrices, columns
from lora_perf.representations.factors.spectral import entropy
from lora_perf.representations.kinds import of_matrices

_BINS = 50


@of_matrices("info_theoretic", ("entropy", "normalised"))
def info_theoretic(x: Matrices) -> Tensor:
    """Entropy in nats of the 50-bin histogram over the matrix's own range, and the same over log 50.

    Hides: the two features are one, times log 50. K entries fill at most K bins, so that the second is at most log K / log 50:
    .709 at 16 entries, .886 at 32. Bins follow the range of the matrix, so that neither its size nor a shift is seen.

    Bins are those of numpy.histogram. The entries are sorted, so 49 binary searches count them.
    """
    low, high = x.low.double()[:, None], x.high.double()[:, None]
    inner = torch.arange(1, _BINS, device=x.entries.device, dtype=torch.float64)
    edges = inner * ((high - low) / _BINS) + low
    below = torch.searchsorted(x.sorted, _rounded_up(edges))
    places = torch.nn.functional.pad(below, (1, 0))
    places = torch.nn.functional.pad(places, (0, 1), value=x.count)
    value = entropy(places.diff(dim=1).double() / x.count).masked_fill_(x.constant, 0)
    return columns(value, value / math.log(_BINS))


def _rounded_up(edges: Tensor) -> Tensor:
    """The smallest float32 at or above each float64, so that float32 entries compare with it as with the float64."""
    rounded = edges.float()
    return torch.where(
        rounded.double() < edges, torch.nextafter(rounded, torch.full_like(rounded, math.inf)), rounded
    ).contiguous()
