"""The one registry of representations, the protocol that all in it keep to, and the sets that they form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Part, no_columns
from lora_perf.core.layout import Layer, Layout
from lora_perf.core.registry import Registry
from lora_perf.core.sources import source_version
from lora_perf.core.zoo import Zoo

Needs = Literal["factors", "updates", "rows", "train rows"]
Sources = tuple[Callable[..., Any], ...]
CONTROLS, USERS, NUMBERED = "controls", "users", "numbered"


class Representation(Protocol):
    """What makes features of adapters; whoever uses one asks for these, and never for its name.

    Attributes:
        name: the same as function, in the registry, on the command line, in reports and in benchmarks.
        needs: what it looks at: factors or updates dW one by one, whole rows, or train rows, to which it is fitted first.
        family: the set that it belongs to: ten, dw, learned, users; controls and numbered ones are in no set.
        any_rank: adapters of one zoo may have different ranks, for it compares updates and not factors.
        streamed: it is computed in the one pass for all layers, of which a layer group is a choice of columns.
        drawn: it is made with random vectors or fitted from a seed: another draw is another sample of what it stands for.
        stored: a cache keeps it; not what is the zoo itself, or made of others.
        parts: the names of what has to be computed for it: its own, or those that it puts side by side.
        version: of a user's function, a hash of its source, which counts in every key; "" for the package's own.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def family(self) -> str: ...
    @property
    def any_rank(self) -> bool: ...
    @property
    def streamed(self) -> bool: ...
    @property
    def drawn(self) -> bool: ...
    @property
    def stored(self) -> bool: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> str: ...

    def describe(self, layout: Layout, layers: Sequence[Layer], width: int | None = None) -> tuple[Part, ...] | None:
        """The columns that it makes of some layers; None where their number follows from a fit and `width` does not tell it.

        Raises:
            LoraPerfError: it needs whole modules, and there are none.
        """


class Single:
    """What is made of no other representation: `sources` are the functions of a user that it is made of."""

    name: str
    sources: Sources

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def version(self) -> str:
        return "".join(map(source_version, self.sources))


class Representations(Registry[Representation]):
    """Representations by their names; those of a kind that a number tells apart, as dw_sketch_32, are made when they are named.

    What has been named is found by its name, but is no item: a list of what there is never depends on what was asked before.

        >>> import lora_perf
        >>> lora_perf.REPRESENTATIONS["dw_sketch"].family, lora_perf.REPRESENTATIONS.named("dw_sketch_32").name
        ('dw', 'dw_sketch_32')
        >>> "dw_sketch_32" in lora_perf.REPRESENTATIONS, "dw_sketch_32" in list(lora_perf.REPRESENTATIONS)
        (True, False)

    Attributes:
        numbered: what makes one of a number, by the name before it.
    """

    def __init__(self) -> None:
        super().__init__("representation")
        self.numbered: dict[str, Callable[[int], Representation]] = {}
        self._made: dict[str, Representation] = {}

    def named(self, name: str) -> Representation:
        base, _, number = str(name).rpartition("_")
        if name not in self and base in self.numbered and number.isascii() and number.isdecimal():
            self._made[name] = self.numbered[base](int(number))
        return self[name] if name in self else super().named(name)

    def __getitem__(self, name: str) -> Representation:
        return self._parts[name] if name in self._parts else self._made[name]


REPRESENTATIONS = Representations()


def members(family: str) -> tuple[str, ...]:
    """The names of a set.

    >>> members("learned")
    ('pca', 'vae', 'denoising', 'contrastive', 'dw_kernel')
    """
    return tuple(name for name, one in REPRESENTATIONS.items() if one.family == family)


def sets() -> tuple[str, ...]:
    """The names of the sets that have a member."""
    return tuple(dict.fromkeys(one.family for one in REPRESENTATIONS.values() if one.family != CONTROLS))


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """The representations that names and names of sets stand for, each once.

    Raises:
        LoraPerfError: a name is unknown; all are listed.
    """
    known = [name for name, one in REPRESENTATIONS.items() if one.family != CONTROLS]
    found: dict[str, None] = {}
    for name in names:
        numbered = name.rpartition("_")[0] in REPRESENTATIONS.numbered and bool(REPRESENTATIONS.named(name))
        if name not in sets() and name not in known and not numbered:
            raise LoraPerfError(
                expected=f"a representation ({listed(known, 60)}) or a set of them ({listed(sets())})",
                found=repr(name),
                fix="import the module of your own ones (--import)" if name == USERS else "choose among these",
            )
        found.update(dict.fromkeys(members(name) if name in sets() else (name,)))
    return tuple(found)


def count(name: str, layout: Layout, layers: Sequence[Layer]) -> int | None:
    """How many features there are of some layers; None where that is known when they are fitted.

    Raises:
        LoraPerfError: the name is unknown; or there are none, as of dW where no module has both sides among the layers.
    """
    parts = REPRESENTATIONS.named(name).describe(layout, layers)
    if parts is None:
        return None
    if not parts:
        raise no_columns(layers, name)
    return sum(len(part.names) for part in parts)


def refuse_non_finite(zoo: Zoo, row: int) -> None:
    """Refuses an adapter that holds a NaN or infinity."""
    for fault, layer in zoo.non_finite(row):
        raise LoraPerfError(
            expected="finite weights",
            found=f"{fault} in {zoo.called(row)}, layer {layer}",
            fix="leave the adapter out (--skip-bad) or train it again",
        )


def refuse_ranks(zoo: Zoo, names: Iterable[str]) -> None:
    """Refuses representations that look at entries of factors where adapters have different ranks; others are listed."""
    wrong = [name for name in names if not REPRESENTATIONS[name].any_rank]
    if zoo.ranks is not None and wrong:
        others = (name for name, one in REPRESENTATIONS.items() if one.any_rank and one.family != CONTROLS)
        raise LoraPerfError(
            expected=f"adapters of one rank for {listed(wrong, 4)}, which cannot compare factors of different ranks",
            found=f"ranks from {int(zoo.ranks.min())} to {int(zoo.ranks.max())}",
            fix=f"choose among {listed(others, 60)}, which see updates dW, or keep the adapters of one rank",
        )
