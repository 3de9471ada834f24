"""The layout of a table's adapters, from the names and the shapes of its columns."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.core.text import counted
from lora_perf.io.dialects import TensorEntry, read_names
from lora_perf.io.dialects.names import Part, settle
from lora_perf.io.dialects.schema import Pair, Reading
from lora_perf.io.tables.columns import Columns

Shape = tuple[int, ...]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Meaning:
    """What the adapters of a table are.

    Attributes:
        layout: the layers in the order of their columns, named as in a folder of the same adapters.
        columns: the column of each layer.
        pairs: the factors of each of `layout.modules`; for their scales see `read`.
    """

    layout: Layout
    columns: tuple[str, ...]
    pairs: tuple[Pair, ...]
    _entries: Mapping[str, TensorEntry]
    _metadata: Mapping[str, str]
    _plain: Reading | None

    @property
    def tensors(self) -> Collection[str]:
        """The columns that are the tensors of the adapters."""
        return self._entries.keys()

    def read(self, metadata: Mapping[str, str]) -> Reading:
        """What the columns mean as the tensors of a file with these metadata beside those of the schema."""
        for name, value in metadata.items():
            known = self._metadata.get(name, value)
            if known != value:
                raise LoraPerfError(
                    expected=f"one {name}",
                    found=f"{value} in its column and {known} in the metadata of the table",
                    fix="remove the statement that is wrong",
                )
        if self._plain is not None and not (metadata or self._metadata):
            return self._plain
        return read_names(self._entries, {**self._metadata, **metadata})

    def in_order(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Pairs in the order of `layout.modules`."""
        by_module = {pair.module: pair for pair in pairs}
        return [by_module[module.name] for module in self.layout.modules]


def meaning_of(columns: Columns, shapes: Mapping[str, Shape], where: str) -> Meaning:
    """The layout of adapters of these columns, whose values have these shapes.

    Raises:
        LoraPerfError: factors that make no product, an alpha of no module, and what `read_names` refuses.
    """
    try:
        return _meaning(columns, {name: _as_declared(name, shapes[name], columns) for name in columns.weights}, where)
    except LoraPerfError as error:
        raise error.but(expected=f"{error.expected}, among the columns of {where}") from None


def _meaning(columns: Columns, shapes: dict[str, Shape], where: str) -> Meaning:
    matrices = _matrices(columns.weights, shapes, where)
    complete = settle(part.module for part in columns.weights.values())
    places = {name: (complete(part.module), part.side) for name, part in columns.weights.items()}
    entries = {name: TensorEntry("F32", shape) for name, shape in matrices.items()}
    entries |= {name: TensorEntry("F32", (1,)) for name in (*columns.alphas, *columns.others)}
    pairs: tuple[Pair, ...] = ()
    reading: Reading | None = None
    if any(count > 1 for count in Counter((part.dialect, part.shared) for part in columns.weights.values()).values()):
        # What shapes and names mean depends on no metadata; those may be incomplete without the columns of each row.
        reading = read_names(entries)
        pairs = reading.pairs
        if reading.unsupported:
            raise LoraPerfError(
                expected="nothing of the update besides factors and their alphas",
                found=f"columns whose meaning nothing defines: {listed(reading.unsupported, 3)}",
                fix="leave the columns out, or rename them if they are no part of the adapters",
            )
        if reading.unpaired:
            lost = listed(reading.unpaired, 3)
            _log.warning("%s: %d factors without partner, so without dW: %s", where, len(reading.unpaired), lost)
    used = {pair.alpha for pair in pairs}
    unused = [name for name in columns.alphas if name not in used]
    if unused:
        raise LoraPerfError(
            expected="a down and an up of the module of each alpha column",
            found=f"{len(unused)} of no such module: {listed(unused, 3)}",
            fix="rename the column if it is no alpha, or leave it out",
        )
    flat: dict[str, Shape] = {name: (shape[0], prod(shape[1:])) for name, shape in matrices.items()}
    for pair in pairs:
        places[pair.down], places[pair.up] = (pair.module, "down"), (pair.module, "up")
        flat[pair.down], flat[pair.up] = pair.down_shape, pair.up_shape
    layout = Layout((f"{places[name][0]}.lora.{places[name][1]}.weight", flat[name]) for name in columns.weights)
    meaning = Meaning(layout, tuple(columns.weights), pairs, entries, columns.metadata, reading)
    if columns.left:
        count, left = counted(len(columns.left), "column"), listed(columns.left, 3)
        _log.warning("%s: %s of numbers left alone, since they are no factors: %s", where, count, left)
    return replace(meaning, pairs=tuple(meaning.in_order(pairs)))


def _as_declared(name: str, shape: Shape, columns: Columns) -> Shape:
    """The shape of a value, that of a flat vector by what its column declares."""
    declared = columns.declared.get(name)
    if declared is None:
        return shape
    if len(shape) == len(declared) and all(a == b or b is None for a, b in zip(shape, declared, strict=True)):
        return shape
    whole = tuple(size for size in declared if size is not None)
    if len(shape) == 1 and len(whole) == len(declared) and prod(whole) == shape[0]:
        return whole
    raise LoraPerfError(
        expected=f"values of the declared shape {declared} in column {name}",
        found=f"shape {shape}",
        fix="repair the data set: what its schema declares is not what it holds",
    )


def _matrices(weights: Mapping[str, Part], shapes: Mapping[str, Shape], where: str) -> dict[str, Shape]:
    """The shapes with at least two axes: a flat vector has the rank of its partner, and rank 1 where that is flat too."""
    sides: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, part in weights.items():
        sides[part.dialect, part.shared][part.side] = name
    found: dict[str, Shape] = {}
    alone = 0
    for pair in sides.values():
        rank = 1
        for side, name in pair.items():
            if len(shapes[name]) > 1:
                rank = shapes[name][0 if side == "down" else 1]
        for side, name in pair.items():
            shape = shapes[name]
            if len(shape) == 1:
                alone += all(len(shapes[other]) == 1 for other in pair.values())
                if shape[0] % rank:
                    raise LoraPerfError(
                        expected=f"a vector of rank {rank} times a width in column {name}, as its partner is of rank {rank}",
                        found=f"{shape[0]} numbers",
                        fix="repair the data set: the two are not factors of one update",
                    )
                shape = (rank, shape[0] // rank) if side == "down" else (shape[0] // rank, rank)
            found[name] = shape
    if alone:
        _log.warning("%s: %d columns of flat vectors, which declare no shape, are taken as factors of rank 1", where, alone)
    return {name: found[name] for name in weights}
