"""The kinds of representations that one pass computes: of matrices, of updates, entries as they are, others side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Part
from lora_perf.core.layout import Layer, Layout, Module
from lora_perf.representations.factors.matrices import Matrices
from lora_perf.representations.registry import REPRESENTATIONS, Needs, Single, Sources
from lora_perf.representations.updates.modules import Modules, Pairs


@dataclass(frozen=True)
class PerMatrix(Single):
    """A representation of matrices, one by one.

    `function` takes q matrices of one shape and returns (q, f), in the order of `features`, which are the same for all layers
    or follow from the layer; where there are none of a shape, `function` is not called.
    """

    name: str
    features: tuple[str, ...] | Callable[[Layer], tuple[str, ...]]
    function: Callable[[Matrices], Tensor]
    family: str = "ten"
    sources: Sources = ()
    needs: ClassVar[Needs] = "factors"
    any_rank: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    streamed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order."""
        places = layout.indices(layers)
        if isinstance(self.features, tuple):
            return tuple(Part((i,), layer.name, self.features) for i, layer in zip(places, layers, strict=True))
        parts = [Part((i,), layer.name, self.features(layer)) for i, layer in zip(places, layers, strict=True)]
        return tuple(part for part in parts if part.names)


@dataclass(frozen=True)
class PerModule(Single):
    """A representation of the updates dW = s B A of modules, and perhaps of pairs of modules.

    `function` takes q updates of one shape and returns (q, f), in the order of the features that `features` names for a module
    of that shape; where it names none, it is not called. `of_pairs` does the same for q pairs (see `siblings`).
    """

    name: str
    features: Callable[[Module], tuple[str, ...]]
    function: Callable[[Modules], Tensor]
    pair_features: tuple[str, ...] = ()
    of_pairs: Callable[[Pairs], Tensor] | None = None
    drawn: bool = False
    family: str = "dw"
    sources: Sources = ()
    needs: ClassVar[Needs] = "updates"
    any_rank: ClassVar[bool] = True
    streamed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
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
    family: ClassVar[str] = "ten"
    needs: ClassVar[Needs] = "factors"
    any_rank: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    streamed: ClassVar[bool] = True
    stored: ClassVar[bool] = False
    version: ClassVar[str] = ""

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order."""
        described = ((one.name, one.describe(layout, layers)) for one in REPRESENTATIONS.resolve(self.parts))
        return tuple(part.prefixed(name) for name, parts in described for part in parts or ())


@dataclass(frozen=True)
class Entries(Single):
    """All entries of a matrix, row by row: the row of the zoo itself. Another sign or gauge of the factors is another row."""

    name: str
    sources: Sources = ()
    family: ClassVar[str] = "ten"
    needs: ClassVar[Needs] = "rows"
    any_rank: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    streamed: ClassVar[bool] = True
    stored: ClassVar[bool] = False

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...]:
        """The columns that it makes of some layers, in order: the entries of each, numbered."""
        places = layout.indices(layers)
        return tuple(Part((place,), layer.name, _numbers(layer.size)) for place, layer in zip(places, layers, strict=True))


@lru_cache(maxsize=64)  # an adapter has some hundred layers of a few sizes, and a name for each of its parameters is many
def _numbers(size: int) -> tuple[str, ...]:
    return tuple(map(str, range(size)))


def of_matrices(name: str, features: Iterable[str]) -> Callable[[Callable[[Matrices], Tensor]], PerMatrix]:
    """Makes a representation of a function of q matrices -> (q, f), the same features of every layer."""
    names = tuple(features)
    return lambda function: PerMatrix(name, names, function)


def of_modules(
    name: str,
    features: Callable[[Module], tuple[str, ...]],
    pair_features: tuple[str, ...] = (),
    of_pairs: Callable[[Pairs], Tensor] | None = None,
    *,
    drawn: bool = False,
) -> Callable[[Callable[[Modules], Tensor]], PerModule]:
    """Makes a representation of a function of q updates dW -> (q, f)."""
    return lambda function: PerModule(name, features, function, pair_features, of_pairs, drawn)


def complete_modules(layout: Layout, layers: Iterable[Layer]) -> tuple[Module, ...]:
    """The modules with both sides among some layers, in the order of `layout.modules`."""
    chosen = set(layers)
    return tuple(module for module in layout.modules if module.up in chosen and module.down in chosen)


def modules_within(layout: Layout, layers: Iterable[Layer], wanted_by: str) -> tuple[Module, ...]:
    """The modules with both sides among some layers, in layout order."""
    chosen = tuple(layers)
    modules = complete_modules(layout, chosen)
    if not modules:
        raise LoraPerfError(
            expected=f"modules with both an up and a down for {wanted_by}",
            found=f"none within {listed(sorted(layer.name for layer in chosen), 2)}",
            fix="choose a layer group with both sides, such as all, visual or attn2.to_v",
        )
    return modules


def siblings(layout: Layout) -> tuple[tuple[Module, Module], ...]:
    """Pairs of neighbours among the modules of one parent (an attention block) and of one shape: q and v, or q-k and k-v."""
    families: dict[tuple[str, int, int, int], list[Module]] = {}
    for module in layout.modules:
        families.setdefault((module.name.rpartition(".")[0], module.rank, *module.shape), []).append(module)
    return tuple(pair for family in families.values() for pair in pairwise(family))


def places_of(layout: Layout, *modules: Module) -> tuple[int, ...]:
    """Positions in the layout of the layers of some modules."""
    return layout.indices(layer for module in modules for layer in (module.up, module.down))
