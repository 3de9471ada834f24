"""Zoos that are called by a name of their own, which comes before that of a path; whoever makes such zoos names them here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lora_perf.core.zoo import Zoo


@dataclass(frozen=True)
class Named:
    """A zoo with a name of its own.

    Attributes:
        title: what messages call it.
        open: opens it, or makes it.
        hidden: whether a path of that name comes first, so that lists of names leave it out.
    """

    title: str
    open: Callable[[], Zoo]
    hidden: bool = False


NAMED: dict[str, Named] = {}


def shown() -> list[str]:
    """The names that a user may choose among."""
    return [name for name, one in NAMED.items() if not one.hidden]
