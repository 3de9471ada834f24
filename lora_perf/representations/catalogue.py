"""The names that an experiment knows: representations, computed or learned, features of controls, and sets of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout
from lora_perf.representations import REPRESENTATIONS, Concatenation, PerModule
from lora_perf.representations import count as count_computed
from lora_perf.representations.controls import MODULE_NUMBERS, modules_within
from lora_perf.representations.learned import LEARNED

TEN = (
    "simple_stats",
    "rank_based",
    "stats",
    "spectral",
    "matrix_norms",
    "distribution",
    "frequency",
    "flat_vec",
    "info_theoretic",
    "ensemble",
)
DW = tuple(name for name, one in REPRESENTATIONS.items() if isinstance(one, PerModule))
SETS: dict[str, tuple[str, ...]] = {"ten": TEN, "dw": DW, "learned": tuple(LEARNED)}
# Those that compare updates and not factors, so that adapters of one zoo may have different ranks.
ANY_RANK = (*DW, *(name for name, one in LEARNED.items() if one.mixed_ranks), *MODULE_NUMBERS)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """The representations that names and names of sets stand for, each once.

    Raises:
        LoraPerfError: a name is unknown; all are listed.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in SETS and name not in REPRESENTATIONS and name not in LEARNED:
            raise LoraPerfError(
                expected=f"a representation ({listed([*REPRESENTATIONS, *LEARNED], 60)}) or a set of them ({listed(SETS)})",
                found=repr(name),
                fix="choose among these",
            )
        found.update(dict.fromkeys(SETS.get(name, (name,))))
    return tuple(found)


def parts_of(name: str) -> tuple[str, ...]:
    """The representations of the registry that have to be computed for one of them."""
    one = REPRESENTATIONS[name]
    return one.parts if isinstance(one, Concatenation) else (name,)


def count(name: str, layout: Layout, layers: Sequence[Layer]) -> int | None:
    """How many features there are of some layers; None where that is known when they are fitted.

    Raises:
        LoraPerfError: there are none, as of dW where no module has both sides among the layers.
    """
    if name in LEARNED:
        if LEARNED[name].of_updates:
            modules_within(layout, layers, name)
        return None
    if name in MODULE_NUMBERS:
        return len(modules_within(layout, layers, name))
    return count_computed(name, layout, layers)
