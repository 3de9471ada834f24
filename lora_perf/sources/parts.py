"""The names that parts of a split have in folders, files and tables."""

from __future__ import annotations

_NAMES = (("train", "training"), ("validation", "valid", "val", "dev", "eval", "evaluation"), ("test", "testing"))
_PARTS = {name: part for part, names in enumerate(_NAMES) for name in names}


def part_of(name: str) -> int | None:
    """0 train, 1 validation, 2 test, in whatever case it is written; None for every other name.

    >>> part_of("train"), part_of("Val"), part_of("cat")
    (0, 1, None)
    """
    return _PARTS.get(name.casefold())
