"""What objects tell of themselves in a terminal and in a notebook: a title and a few facts, one a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lora_perf.core.errors import listed
from lora_perf.core.text import LONGEST, counted, html, printable

if TYPE_CHECKING:
    from lora_perf.core.features import Features
    from lora_perf.core.layout import Layout
    from lora_perf.core.zoo import Zoo

Facts: TypeAlias = Mapping[str, str]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def text_card(title: str, facts: Facts) -> str:
    """A title and one line a fact, whatever the names in it hold.

    >>> print(text_card("Zoo 'loras'", {"layers": "24", "split": "none"}))
    Zoo 'loras'
      layers  24
      split   none
    """
    shown = {printable(name, LONGEST): printable(fact, LONGEST) for name, fact in facts.items()}
    width = max(map(len, shown), default=0)
    return "\n".join([printable(title, LONGEST), *(f"  {name:<{width}}  {fact}" for name, fact in shown.items())])


def html_card(title: str, facts: Facts) -> str:
    """The same as a table for a notebook; names are text, never markup.

    >>> html_card("<b>", {"layers": "24"})
    '<table><caption>&lt;b&gt;</caption><tr><th>layers</th><td>24</td></tr></table>'
    """
    lines = (f"<tr><th>{html(name, LONGEST)}</th><td>{html(fact, LONGEST)}</td></tr>" for name, fact in facts.items())
    return f"<table><caption>{html(title, LONGEST)}</caption>{''.join(lines)}</table>"


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of values for a notebook."""
    head = "".join(f"<th>{html(name, LONGEST)}</th>" for name in columns)
    lines = ("".join(f"<td>{html(str(value), LONGEST)}</td>" for value in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def size(nbytes: int) -> str:
    """Bytes for people.

    >>> size(999), size(2_880_000)
    ('999 B', '2.88 MB')
    """
    amount, unit = float(nbytes), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {_UNITS[unit]}"


def facts_of_layout(layout: Layout) -> dict[str, str]:
    ranks = sorted({module.rank for module in layout.modules})
    modules = f", {counted(len(layout.modules), 'module')} of rank {listed(ranks, 6)}" if ranks else ""
    return {
        "layers": f"{len(layout)}{modules}, {counted(layout.p, 'parameter')}",
        "first": listed((f"{layer.name} {layer.shape}" for layer in layout.layers[:2]), 2),
    }


def facts_of_zoo(zoo: Zoo, parts: Sequence[str]) -> dict[str, str]:
    if zoo.labels is None:
        classes = "no labels"
    else:
        counts = np.bincount(zoo.labels.numpy(), minlength=len(zoo.classes))
        low, high = int(counts.min()), int(counts.max())
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        classes = f"{len(zoo.classes)} ({listed(zoo.classes, 6)}), {each} of each"
    layers = facts_of_layout(zoo.layout)["layers"]
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
    return told


def facts_of_features(features: Features) -> dict[str, str]:
    layers = sorted({layer for part in features.parts for layer in part.layers})
    return {
        "values": f"{str(features.values.dtype).removeprefix('torch.')} on {features.values.device}",
        "layers": f"{len(layers)} of {len(features.layout)}",
        "columns": listed(features.names, 3),
    }
