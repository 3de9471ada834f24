"""How far features move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lora_perf.classifiers.standardise import ConstantFeaturesError, Standardiser

# Features that move by less than this, relative to their row, do not depend on the gauge: float32 factors cannot hold an update
# better than to 1e-7, and decompositions may lose two or three digits more.
STILL = 1e-4
_CHUNK_NBYTES = 64 << 20  # of float64 differences at a time


@dataclass(frozen=True)
class Extent:
    """The median and the largest of some movements."""

    median: float
    largest: float


@dataclass(frozen=True)
class Movement:
    """How far the features of t adapters moved.

    Attributes:
        relative: over adapters, |f' - f| / |f| of the feature row.
        standardised: over adapters, the root mean square over the features of (f' - f) in standard deviations over the train
            adapters; features that are constant there are left out, and None stands where all are.
        by_feature: over features, the root mean square over the adapters of the same.
        most: the name of the feature that moved most of all, in standard deviations.
    """

    relative: Extent
    standardised: Extent | None
    by_feature: Extent | None
    most: str | None


class Ruler:
    """Measures movements of one representation, features (n, f), in units of the train adapters (n_train,)."""

    def __init__(self, values: Tensor, train: Tensor, names: Sequence[str]) -> None:
        self._values, self._names = values, names
        try:
            self._standardiser: Standardiser | None = Standardiser.fit(values, train)
        except ConstantFeaturesError:
            self._standardiser = None
        self.constant = values.shape[1] if self._standardiser is None else len(self._standardiser.dropped)

    def measure(self, before: Tensor, after: Tensor) -> Movement:
        """The movement from some rows to as many others.

        Shapes: before and after (t,) row numbers.
        """
        step = max(1, _CHUNK_NBYTES // (8 * self._values.shape[1]))
        relative, standardised = [], []
        by_feature: Tensor | None = None
        for old, new in zip(before.split(step), after.split(step), strict=True):
            origin, target = (self._values[rows.to(self._values.device)].double() for rows in (old, new))
            moved = target - origin
            size = origin.norm(dim=1)
            # An adapter whose features were all 0 has moved by its own new size: 1, or 0 where it stays there.
            size = torch.where(size > 0, size, target.norm(dim=1))
            relative.append(torch.where(size > 0, moved.norm(dim=1) / size, 0))
            if self._standardiser is not None:
                kept = moved.index_select(1, self._standardiser.kept)
                squares = (kept / self._standardiser.scale).square_()
                standardised.append(squares.mean(dim=1).sqrt())
                by_feature = squares.sum(dim=0) + (0 if by_feature is None else by_feature)
        if self._standardiser is None or by_feature is None:
            return Movement(extent(torch.cat(relative)), None, None, None)
        by_feature = (by_feature / len(before)).sqrt_()
        most = self._names[int(self._standardiser.kept[by_feature.argmax()])]
        return Movement(
            extent(torch.cat(relative)), extent(torch.cat(standardised)), extent(by_feature), most if by_feature.any() else None
        )


def extent(values: Tensor) -> Extent:
    """Median and largest of values (t,)."""
    return Extent(float(np.median(values.numpy())), float(values.max()))


def short(value: float) -> str:
    """A movement with the digits that count: 0, 4.1e-08 or 0.71."""
    return "0" if value == 0 else f"{value:.1e}" if value < 0.01 or value >= 1000 else f"{value:.3g}"
