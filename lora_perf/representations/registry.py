"""The registry of representations: one dict, filled by a decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from lora_perf.errors import LoraPerfError, listed
from lora_perf.layout import Layer
from lora_perf.representations.matrices import Matrices


@dataclass(frozen=True)
class PerMatrix:
    """A representation that makes the same features of every matrix.

    `compute` takes q matrices and returns (q, f), in the order of `features`.
    """

    name: str
    features: tuple[str, ...]
    compute: Callable[[Matrices], Tensor]

    def names(self, layer: Layer) -> tuple[str, ...]:
        """The features of one layer."""
        return self.features


@dataclass(frozen=True)
class Concatenation:
    """Other representations side by side; nothing is computed a second time."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Entries:
    """All entries of a matrix, row by row: the row of the zoo itself."""

    name: str

    def names(self, layer: Layer) -> tuple[str, ...]:
        """The entries of one layer, numbered."""
        return tuple(map(str, range(layer.size)))


Representation = PerMatrix | Concatenation | Entries
REPRESENTATIONS: dict[str, Representation] = {}


def representation(
    name: str, features: Iterable[str]
) -> Callable[[Callable[[Matrices], Tensor]], Callable[[Matrices], Tensor]]:
    """Enters a function of q matrices -> (q, f) under its name."""

    def enter(compute: Callable[[Matrices], Tensor]) -> Callable[[Matrices], Tensor]:
        REPRESENTATIONS[name] = PerMatrix(name, tuple(features), compute)
        return compute

    return enter


def resolve(names: Iterable[str]) -> list[Representation]:
    """The representations of some names.

    Raises:
        LoraPerfError: a name is unknown; the known ones are listed.
    """
    if isinstance(names, str):
        raise LoraPerfError(expected="a list of representations", found=f"the text {names!r}", fix=f"write [{names!r}]")
    found = []
    for name in names:
        if name not in REPRESENTATIONS:
            raise LoraPerfError(
                expected=f"a representation ({listed(REPRESENTATIONS, 40)})", found=repr(name), fix="choose among these"
            )
        found.append(REPRESENTATIONS[name])
    return found
