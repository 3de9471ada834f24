"""The registry of representations: one dict, filled by decorators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Part, no_columns
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.representations.factors.matrices import Matrices
from lora_perf.representations.updates.modules import Modules, Pairs


@dataclass(frozen=True)
class PerMatrix:
    """A representation that makes the same features of every matrix.

    `compute` takes q matrices and returns (q, f), in the order of `features`.
    """

    name: str
    features: tuple[str, ...]
    compute: Callable[[Matrices], Tensor]

    def describe(self, layout: Layout, layers: Sequence[Layer]) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order."""
        places = layout.indices(layers)
        return tuple(Part((place,), layer.name, self.features) for place, layer in zip(places, layers, strict=True))


@dataclass(frozen=True)
class PerModule:
    """A representation of the updates dW = s B A of modules, and perhaps of pairs of modules.

    `compute` takes q updates of one shape and returns (q, f), in the order of the features that `features` names for a module
    of that shape; where it names none, `compute` is not called. `compute_pairs` does the same for q pairs (see `siblings`).
    """

    name: str
    features: Callable[[Module], tuple[str, ...]]
    compute: Callable[[Modules], Tensor]
    pair_features: tuple[str, ...] = ()
    compute_pairs: Callable[[Pairs], Tensor] | None = None

    def describe(self, layout: Layout, layers: Sequence[Layer]) -> tuple[Part, ...]:
        """The columns that it makes of some layers: of the modules with both sides among them, then of their pairs."""
        modules = complete_modules(layout, layers)
        parts = [Part(places_of(layout, one), one.name, self.features(one)) for one in modules]
        if self.pair_features:
            known = set(modules)
            for one, two in siblings(layout):
                if one in known and two in known:
                    title = f"{one.name}~{two.name.rpartition('.')[2]}"
                    parts.append(Part(places_of(layout, one, two), title, self.pair_features))
        return tuple(part for part in parts if part.names)


@dataclass(frozen=True)
class Concatenation:
    """Other representations side by side; nothing is computed a second time."""

    name: str
    parts: tuple[str, ...]

    def describe(self, layout: Layout, layers: Sequence[Layer]) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order."""
        return tuple(part.prefixed(one.name) for one in resolve(self.parts) for part in one.describe(layout, layers))


@dataclass(frozen=True)
class Entries:
    """All entries of a matrix, row by row: the row of the zoo itself."""

    name: str

    def describe(self, layout: Layout, layers: Sequence[Layer]) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order: the entries of each, numbered."""
        places = layout.indices(layers)
        return tuple(Part((place,), layer.name, _numbers(layer.size)) for place, layer in zip(places, layers, strict=True))


@lru_cache(maxsize=64)  # an adapter has some hundred layers of a few sizes, and a name for each of its parameters is many
def _numbers(size: int) -> tuple[str, ...]:
    return tuple(map(str, range(size)))


Representation = PerMatrix | PerModule | Concatenation | Entries
REPRESENTATIONS: dict[str, Representation] = {}


def representation(
    name: str, features: Iterable[str]
) -> Callable[[Callable[[Matrices], Tensor]], Callable[[Matrices], Tensor]]:
    """Enters a function of q matrices -> (q, f) under its name."""

    def enter(compute: Callable[[Matrices], Tensor]) -> Callable[[Matrices], Tensor]:
        REPRESENTATIONS[name] = PerMatrix(name, tuple(features), compute)
        return compute

    return enter


def update_representation(
    name: str, features: Callable[[Module], tuple[str, ...]]
) -> Callable[[Callable[[Modules], Tensor]], Callable[[Modules], Tensor]]:
    """Enters a function of q updates dW -> (q, f) under its name."""

    def enter(compute: Callable[[Modules], Tensor]) -> Callable[[Modules], Tensor]:
        REPRESENTATIONS[name] = PerModule(name, features, compute)
        return compute

    return enter


def pair_representation(name: str, features: Iterable[str]) -> Callable[[Callable[[Pairs], Tensor]], Callable[[Pairs], Tensor]]:
    """Adds a function of q pairs of updates -> (q, f) to the representation of updates of that name."""

    def enter(compute: Callable[[Pairs], Tensor]) -> Callable[[Pairs], Tensor]:
        one = REPRESENTATIONS[name]
        assert isinstance(one, PerModule)
        REPRESENTATIONS[name] = replace(one, pair_features=tuple(features), compute_pairs=compute)
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


def count(name: str, layout: Layout, layers: Sequence[Layer]) -> int:
    """How many features a representation makes of some layers, at least one.

    Raises:
        LoraPerfError: the representation is unknown, or it can be made of none of these layers.
    """
    (one,) = resolve([name])
    parts = one.describe(layout, layers)
    if not parts:
        raise no_columns(layers, name)
    return sum(len(part.names) for part in parts)


def complete_modules(layout: Layout, layers: Iterable[Layer]) -> tuple[Module, ...]:
    """The modules with both sides among some layers, in the order of `layout.modules`."""
    chosen = set(layers)
    return tuple(module for module in layout.modules if module.up in chosen and module.down in chosen)


def siblings(layout: Layout) -> tuple[tuple[Module, Module], ...]:
    """Pairs of neighbours among the modules of one parent (an attention block) and of one shape: q and v, or q-k and k-v."""
    families: dict[tuple[str, int, int, int], list[Module]] = {}
    for module in layout.modules:
        families.setdefault((module.name.rpartition(".")[0], module.rank, *module.shape), []).append(module)
    return tuple(pair for family in families.values() for pair in pairwise(family))


def places_of(layout: Layout, *modules: Module) -> tuple[int, ...]:
    """Positions in the layout of the layers of some modules."""
    return layout.indices(layer for module in modules for layer in (module.up, module.down))
