"""The test adapters of the splits of an experiment, and what a split is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# repeat: accuracies are means over these. random: leaves groups of adapters out of account. size: learns from fewer adapters.
# draw: another draw of representations on the first split.
# transfer: tests on another zoo, native: learns there too. fold: tests a part of the adapters that are learned from.
Kind = Literal["repeat", "random", "size", "draw", "transfer", "native", "fold"]


@dataclass(frozen=True, eq=False)
class Tested:
    """The test adapters of one split.

    Attributes:
        truth: (n_test,) labels or numbers, (n_test, l) of several labels.
        rows: their numbers in the zoo.
        clusters: (n_test,) int64, the group of each where adapters come in groups.
        learned: how many adapters are trained and validated on.
        trained: how many of them are trained on.
        kind: what the split is for.
    """

    truth: NDArray[Any]
    rows: Sequence[int]
    clusters: NDArray[np.int64] | None
    learned: int
    trained: int
    kind: Kind = "repeat"

    def plain(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {
            "labels": self.truth.tolist(),
            "rows": list(self.rows),
            "clusters": None if self.clusters is None else self.clusters.tolist(),
            "learned": self.learned,
            "trained": self.trained,
            "kind": self.kind,
        }


@dataclass(frozen=True)
class HalfDrops:
    """Drops of accuracy to several random halves.

    Attributes:
        mean, low, high: their mean, the smallest and the largest.
        count: how many halves there are.
        above: to how many accuracy drops as much as to the group of their size, or more.
    """

    mean: float
    low: float
    high: float
    count: int
    above: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f}), {self.above} of {self.count} as much"
