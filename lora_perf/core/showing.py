"""What objects tell of themselves in a terminal and in a notebook: a title and a few facts, one a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lora_perf.core.errors import listed
from lora_perf.core.tables import Table
from lora_perf.core.text import counted

if TYPE_CHECKING:
    from lora_perf.core.zoo import Zoo

Facts: TypeAlias = Mapping[str, str]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def card(title: str, facts: Facts) -> Table:
    """A title and one line a fact, whatever the names in it hold.

    >>> card("Zoo 'loras'", {"layers": "24", "split": "none"})
    Zoo 'loras'
    layers  24
    split   none
    """
    return Table(title, ("", ""), list(facts.items()))


def size(nbytes: int) -> str:
    """Bytes for people.

    >>> size(999), size(2_880_000)
    ('999 B', '2.88 MB')
    """
    amount, unit = float(nbytes), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.0123), duration(4), duration(600), duration(22000)
    ('12.3 ms', '4.0 s', '10 min', '6.1 h')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def card_of_zoo(zoo: Zoo, parts: Sequence[str]) -> Table:
    if zoo.labels is None:
        classes = "no labels"
    else:
        counts = np.bincount(zoo.labels.numpy(), minlength=len(zoo.classes))
        low, high = int(counts[counts > 0].min()), int(counts.max())
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        present = [name for name, count in zip(zoo.classes, counts.tolist(), strict=True) if count]
        of_all = f" of {len(zoo.classes)}" if len(present) < len(zoo.classes) else ""
        classes = f"{len(present)}{of_all} ({listed(present, 6)}), {each} of each"
    ranks = sorted({module.rank for module in zoo.layout.modules})
    modules = f", {counted(len(zoo.layout.modules), 'module')} of rank {listed(ranks, 6)}" if ranks else ""
    layers = f"{len(zoo.layout)}{modules}, {counted(zoo.layout.p, 'parameter')}"
    if zoo.ranks is not None:
        layers += f"; ranks of adapters from {int(zoo.ranks.min())} to {int(zoo.ranks.max())}"
    told = {"classes": classes, "layers": layers, "weights": f"{size(zoo.nbytes)}, {zoo.source.where}"}
    if zoo.scales is not None:
        told["scales"] = f"from {float(zoo.scales.min()):g} to {float(zoo.scales.max()):g}"
    if zoo.split is not None:
        counts = np.bincount(zoo.split.numpy(), minlength=len(parts))
        told["split"] = ", ".join(f"{count:,} {part}" for part, count in zip(parts, counts.tolist(), strict=True) if count)
    if zoo.metadata:
        told["metadata"] = listed(zoo.metadata, 8)
    if zoo.skipped:
        told["left out"] = listed((one.path for one in zoo.skipped), 3)
    return card(f"Zoo {zoo.name!r}: {counted(len(zoo), 'adapter')}", told)
