"""Two zoos as one: their rows one after the other in one layout, as an experiment on both needs them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.digest import Hashed, hashed
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout
from lora_perf.core.metadata import Column, Metadata
from lora_perf.core.rows import FloatRows, RowSource
from lora_perf.core.zoo import Zoo


class JoinedRows(RowSource):
    """The rows of several sources one after the other, each in the layout of all: layers by name, smaller ranks filled with 0.

    Args:
        sources: with the layout of each.
        layout: of all; it has the layers of each, at least as large.
    """

    def __init__(self, sources: Sequence[tuple[RowSource, Layout]], layout: Layout) -> None:
        self.n, self.p = sum(source.n for source, _ in sources), layout.p
        self.where = " and ".join(dict.fromkeys(source.where for source, _ in sources))
        self.divisible = all(source.divisible for source, _ in sources)
        self._sources, self._layout = sources, layout

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        before = 0
        for source, own in self._sources:
            first, last = max(start, before), min(stop, before + source.n)
            if first < last:
                into = out[first - start : last - start]
                if own.to_json() == self._layout.to_json():
                    source.read(first - before, last - before, into)
                else:
                    rows = np.empty((last - first, own.p), np.float32)
                    source.read(first - before, last - before, rows)
                    self._place(rows, own, into)
            before += source.n

    def _place(self, rows: FloatRows, own: Layout, out: FloatRows) -> None:
        out[:] = 0
        for layer in self._layout:
            mine = own[layer.name]
            whole = out[:, layer.columns].reshape(len(out), *layer.shape)
            whole[:, : mine.shape[0], : mine.shape[1]] = rows[:, mine.columns].reshape(len(rows), *mine.shape)
            out[:, layer.columns] = whole.reshape(len(out), layer.size)


class JoinedZoo(Zoo):
    """The adapters of two zoos, those of the first first. Classes are one by their names; metadata where both have a column.

    Raises:
        LoraPerfError: layers that only one of them has, or of other sizes than their ranks explain; labels of one alone.

    >>> import lora_perf
    >>> both = JoinedZoo(lora_perf.load("digits"), lora_perf.load("digits-shared"))
    >>> len(both), both.classes[:2], both.names[999:1001]
    (2000, ['zero', 'one'], ['digits: row 999', 'digits-shared: row 0'])
    """

    def __init__(self, first: Zoo, second: Zoo) -> None:
        self.parts = first, second
        layout = _common(first, second)
        rows = JoinedRows([(one.source, one.layout) for one in self.parts], layout)
        labels, classes = _labels(first, second)
        names = [f"{one.name}: {name}" for one in self.parts for name in one.names]
        ranks = None
        if any(one.ranks is not None for one in self.parts) or not _alike(self.parts, layout, ordered=False):
            ranks = torch.cat([_ranks(one, layout) for one in self.parts])
        scales = None
        if any(one.scales is not None for one in self.parts):
            scales = torch.cat([_scales(one, layout) for one in self.parts])
        shared = [name for name in first.metadata if name in second.metadata]
        columns = {name: Column([*first.metadata[name], *second.metadata[name]]) for name in shared}
        super().__init__(
            rows,
            layout,
            labels,
            classes,
            name=first.name,
            scales=scales,
            ranks=ranks,
            skipped=(*first.skipped, *second.skipped),
            names=names,
            metadata=Metadata(columns, rows.n),
            origin=first.origin,
        )

    @cached_property
    def hashed(self) -> Hashed:
        """Of the rows of both, each of which keeps its promise."""
        if self.original is not None:
            return Hashed.of(self, self.original.hashed.rows)
        of_parts = [one.row_hashes for one in self.parts]
        return Hashed.of(self, np.concatenate(of_parts)) if _alike(self.parts, self.layout) else hashed(self)


def _alike(parts: Sequence[Zoo], layout: Layout, *, ordered: bool = True) -> bool:
    """Whether the layers of all have the shapes of a layout, also in its order where that counts."""
    if ordered:
        return all(one.layout.to_json() == layout.to_json() for one in parts)
    return all(one.layout[layer.name].shape == layer.shape for one in parts for layer in layout)


def _common(first: Zoo, second: Zoo) -> Layout:
    """The layers of the first, of the larger rank of both."""
    of_first, of_second = ({layer.name: layer for layer in one.layout} for one in (first, second))
    for mine, other, of_mine, of_other in ((first, second, of_first, of_second), (second, first, of_second, of_first)):
        alone = [name for name in of_mine if name not in of_other]
        if alone:
            raise LoraPerfError(
                expected=f"the same layers in {first.name} and {second.name}",
                found=f"{len(alone)} of {mine.name} that {other.name} has not ({listed(alone, 2)})",
                fix="test on adapters of the same modules, named alike",
            )
    return Layout((name, _larger(layer, of_second[name], first, second)) for name, layer in of_first.items())


def _larger(one: Layer, other: Layer, first: Zoo, second: Zoo) -> tuple[int, int]:
    ranks_at = 0 if one.side == "down" else 1
    if one.shape[1 - ranks_at] != other.shape[1 - ranks_at]:
        raise LoraPerfError(
            expected=f"layers of one size in {first.name} and {second.name}, but for their rank",
            found=f"{one.name} of shape {one.shape} and {other.shape}",
            fix="test on adapters of the same base model",
        )
    return max(one.shape[0], other.shape[0]), max(one.shape[1], other.shape[1])


def _ranks(zoo: Zoo, layout: Layout) -> Tensor:
    """(n, modules) in the order of the common layout."""
    modules = {one.name: (place, one.rank) for place, one in enumerate(zoo.layout.modules)}
    columns = []
    for one in layout.modules:
        place, rank = modules[one.name]
        columns.append(torch.full((len(zoo),), rank) if zoo.ranks is None else zoo.ranks[:, place])
    return torch.stack(columns, dim=1)


def _scales(zoo: Zoo, layout: Layout) -> Tensor:
    if zoo.scales is None:
        return torch.ones(len(zoo), len(layout.modules))
    places = {one.name: place for place, one in enumerate(zoo.layout.modules)}
    return zoo.scales[:, [places[one.name] for one in layout.modules]]


def _labels(first: Zoo, second: Zoo) -> tuple[Tensor | None, list[str]]:
    if first.labels is None and second.labels is None:
        return None, []
    classes = list(dict.fromkeys([*first.classes, *second.classes]))
    place = {name: number for number, name in enumerate(classes)}
    of_second = torch.tensor([place[name] for name in second.classes], dtype=torch.int64)
    return torch.cat([first.required_labels, of_second[second.required_labels]]), classes
