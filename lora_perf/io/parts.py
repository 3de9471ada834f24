"""The names that parts of a split have in folders, files and tables."""

from __future__ import annotations

import re
from functools import lru_cache

_NAMES = (
    ("train", "training"),
    ("validation", "validate", "valid", "val", "dev", "eval", "evaluation"),
    ("test", "testing", "holdout", "heldout", "hold out", "held out"),
)
_PARTS = {name: part for part, names in enumerate(_NAMES) for name in names}
# What people put behind: train_set, testset, val-data.
_BEHIND = re.compile(r" ?(?:split|(?:data ?)?sets?|data)$")


@lru_cache(maxsize=4096)
def part_of(name: str) -> int | None:
    """0 train, 1 validation, 2 test, in whatever case it is written; None for every other name.

    >>> part_of("train"), part_of("Val"), part_of("test_set"), part_of("cat")
    (0, 1, 2, None)
    """
    plain = re.sub("[-_ ]+", " ", name.casefold())
    return _PARTS.get(plain, _PARTS.get(_BEHIND.sub("", plain)))
