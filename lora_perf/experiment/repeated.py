"""Adapters that stand among the test rows and among those that are learned from, byte by byte: found, not removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lora_perf.core.errors import listed
from lora_perf.core.split import Split
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo

_SHOWN = 20  # pairs that the results name; their number is told whole


@dataclass(frozen=True)
class Repeated:
    """Test adapters whose weights, scales and ranks are those of a train or validation adapter.

    Attributes:
        pairs: (test row, first such row) of each.
        other_class: how many of them have another label than that row.
        names: of both rows of each pair.
    """

    pairs: tuple[tuple[int, int], ...]
    other_class: int
    names: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def __str__(self) -> str:
        """One line for people, of names as they are."""
        shown = listed((" = ".join(pair) for pair in self.names), 3)
        labels = f", {self.other_class:,} under another class" * bool(self.other_class)
        count = counted(len(self.pairs), "test adapter")
        return f"{count} of the same weights as one of train or validation{labels}: {shown}; accuracies count them"

    def plain(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {"test": len(self.pairs), "other_class": self.other_class, "pairs": [list(two) for two in self.names[:_SHOWN]]}


def repeated(zoo: Zoo, split: Split) -> Repeated:
    """The test rows of a split that are learned from too; none where the parts are the same rows anyway.

    Cost: that of `Zoo.fingerprint`, whose pass it shares, and a look-up a row.
    """
    if split.resubstitution:
        return Repeated((), 0, ())
    keys = _keys(zoo)
    learned = torch.cat([split.train, split.validation]).tolist()[::-1]  # so that of equal ones the first stays
    first = dict(zip(map(keys.__getitem__, learned), learned, strict=True))
    pairs = [(row, first[keys[row]]) for row in split.test.tolist() if keys[row] in first]
    other = sum(int(zoo.required_labels[row]) != int(zoo.required_labels[same]) for row, same in pairs)
    return Repeated(tuple(pairs), other, tuple((zoo.called(row), zoo.called(same)) for row, same in pairs))


def _keys(zoo: Zoo) -> list[bytes]:
    """(n) the bytes of all that makes an adapter, its weights as their hash: those of the same adapters are equal."""
    tables = [zoo.row_hashes, *(table.numpy() for table in (zoo.scales, zoo.ranks) if table is not None)]
    together = np.concatenate([np.ascontiguousarray(table).view(np.uint8) for table in tables], axis=1)
    keys: list[bytes] = together.view(f"V{together.shape[1]}")[:, 0].tolist()
    return keys
