"""Which columns of features hold the two factors of an update, and with what shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lora_perf.core.layout import Layer, Layout

if TYPE_CHECKING:
    from lora_perf.core.features import Part


@dataclass(frozen=True, slots=True)
class Factors:
    """Columns that hold an update as a product U V^T: another basis, U G and V G^-T, says the same of it.

    Attributes:
        m, k, rank: of U (m, r) and V (k, r).
        up, down: the first column of each. V stands component by component, (r, k).
        by_rows: whether U stands row by row, (m, r), as B does in `flat_vec`, and not component by component.

    >>> import torch
    >>> up, down = Factors(m=3, k=2, rank=1, up=0, down=3).of(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    >>> up.tolist(), down.tolist()
    ([[[1.0, 2.0, 3.0]]], [[[4.0, 5.0]]])
    """

    m: int
    k: int
    rank: int
    up: int
    down: int
    by_rows: bool = False

    def of(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """U^T (n, r, m) and V^T (n, r, k) of features (n, f): views of them."""
        up = values[:, self.up : self.up + self.rank * self.m]
        down = values[:, self.down : self.down + self.rank * self.k].unflatten(1, (self.rank, self.k))
        return up.unflatten(1, (self.m, self.rank)).mT if self.by_rows else up.unflatten(1, (self.rank, self.m)), down


def factors_in(layout: Layout, parts: Iterable[Part]) -> tuple[Factors, ...]:
    """The factors that some columns hold, by the names of their features: those of `dw_canonical` and of `flat_vec`.

    Of `flat_vec` those of the modules with both sides among the columns; of other representations none.
    """
    return tuple(_found(layout, parts))


def _found(layout: Layout, parts: Iterable[Part]) -> Iterator[Factors]:
    start = 0
    entries: dict[str, tuple[Layer, int]] = {}
    for part in parts:
        layers = [layout.layers[place] for place in part.layers]
        width, one = len(part.names), layers[0]
        if len(layers) == 2 and part.names[0] == "u0_0":
            m, k = layers[0].shape[0], layers[1].shape[1]
            rank = min(one.rank, m, k)
            if width == rank * (m + k):
                yield Factors(m, k, rank, start, start + rank * m)
        elif len(layers) == 1 and width == one.size and (part.names[0], part.names[-1]) == ("0", str(width - 1)):
            other, place = entries.setdefault(one.module, (one, start))
            if other.side != one.side and other.rank == one.rank:
                (up, at_up), (down, at_down) = ((one, start), (other, place))[:: 1 if one.side == "up" else -1]
                yield Factors(up.shape[0], down.shape[1], up.rank, at_up, at_down, by_rows=True)
        start += width
