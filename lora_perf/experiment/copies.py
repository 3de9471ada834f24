"""Adapters that are copies of others, or nearly: found by what their updates do, before a zoo is divided."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import listed
from lora_perf.core.provenance import code_version
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.io.checked import count_as_absent, read_record, write_record
from lora_perf.representations.content import content_of
from lora_perf.representations.repeats import repeats_of

_log = logging.getLogger(__name__)

NEAR = 0.999  # cosine of two updates from which one is nearly a copy of the other
_SHARE = 0.1  # of a zoo: where more adapters than that are near each other, it is their training that is alike
_CODE = "representations/repeats.py"
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Copies:
    """Which adapters repeat others.

    Attributes:
        of: (n,) int64, equal for adapters that are copies of each other.
        exact: how many have the update of an earlier one.
        near: how many have nearly that of an earlier one.
        alike: how many adapters are near each other in so large a number that they are not taken for copies.
        names: of some of them, with the one that they repeat.
    """

    of: Tensor
    exact: int
    near: int
    alike: int
    names: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.exact or self.near)

    def __str__(self) -> str:
        """One line for people, of names as they are."""
        shown = listed((f"{two} = {one}" for one, two in self.names), _SHOWN)
        near = f", {self.near:,} of them nearly" * bool(self.near)
        count = counted(self.exact + self.near, "adapter")
        return f"{count} with the update of another{near}: {shown}; each stays with its copies on one side of a split"

    def plain(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {"exact": self.exact, "near": self.near, "alike": self.alike, "pairs": [list(two) for two in self.names]}


def copies_in(config: ExperimentConfig, zoo: Zoo) -> Copies:
    """The copies in a zoo, from the cache folder where they were looked for before.

    Cost: one pass over the weights, and the search of `repeats_of`.
    """
    key = f"{zoo.fingerprint}-{code_version(_CODE)}"
    path = config.cache / f"copies-{key[:32]}.json"
    pairs = read_record(path, key) if config.cache_features else None
    try:
        found = None if pairs is None else [(int(one), int(two), str(kind)) for one, two, kind in pairs]
    except (TypeError, ValueError):
        count_as_absent(path, "no list of copies")
        found = None
    if found is None:
        found = [(one.first, one.second, one.kind) for one in repeats_of(zoo, content_of(zoo), NEAR)]
        if config.cache_features:
            write_record(path, key, found)
    return _copies(zoo, found)


def _copies(zoo: Zoo, found: list[tuple[int, int, str]]) -> Copies:
    exact = [(one, two) for one, two, kind in found if kind != "near"]
    near = [(one, two) for one, two, kind in found if kind == "near"]
    of = _together(len(zoo), exact + near)
    alike = 0
    if near and int(of.bincount().max()) > max(2, _SHARE * len(zoo)):
        alike, near = int(of.bincount().max()), []
        of = _together(len(zoo), exact)
        _log.info("%d adapters have nearly the same update: taken for training that is alike, not for copies", alike)
    names = tuple((zoo.called(one), zoo.called(two)) for one, two in (exact + near)[:20])
    return Copies(of, len(exact), len(near), alike, names)


def _together(n: int, pairs: list[tuple[int, int]]) -> Tensor:
    """(n,) the connected parts of pairs, numbered from 0 on."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, two = np.array(pairs, np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(len(one), np.int8), (one, two)), shape=(n, n))
    return torch.from_numpy(connected_components(links, directed=False)[1].astype(np.int64))
