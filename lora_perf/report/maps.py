"""A map of the adapters in two dimensions: where each stands on the first two principal axes of some features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from lora_perf.core.zoo import SPLIT_NAMES


@dataclass(frozen=True)
class ZooMap:
    """Where adapters stand on the first two principal axes of the standardised features of a cell.

    Attributes:
        rows, adapters: numbers and names of the adapters that are shown.
        parts: of the split that each is in, as places in `SPLIT_NAMES`.
        truth: the class of each, its number, or the first of several labels that it has.
        x, y: of each, with four digits that count.
        shares: of the variance of all columns that each axis carries.
        total: how many adapters there are; more than are shown where these were drawn.
    """

    rows: Sequence[int]
    adapters: Sequence[str]
    parts: Sequence[int]
    truth: Sequence[float]
    x: Sequence[float]
    y: Sequence[float]
    shares: Sequence[float]
    total: int


def map_from_json(record: Any) -> ZooMap:
    """The map whose fields are `record`.

    Raises:
        KeyError, TypeError, ValueError: a field is missing, of another kind, or of other adapters.
    """
    found = ZooMap(**{one.name: record[one.name] for one in fields(ZooMap)})
    n = len(found.rows)
    if not n or any(len(each) != n for each in (found.adapters, found.parts, found.truth, found.x, found.y)):
        raise ValueError("a map of other adapters")
    if {type(one) for one in found.adapters} != {str} or not set(found.parts) <= set(range(len(SPLIT_NAMES))):
        raise ValueError("a map without names or parts")
    numbers = (*found.rows, *found.truth, *found.x, *found.y, *found.shares, found.total)
    if not {type(one) for one in numbers} <= {int, float} or len(found.shares) != 2:
        raise ValueError("a map of something else than numbers")
    return found
