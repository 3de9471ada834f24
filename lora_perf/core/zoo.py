"""The zoo: a collection of adapters of one layout, as one row-major matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.digest import DamagedError as DamagedError
from lora_perf.core.digest import Promise as Promise
from lora_perf.core.digest import RowDigest as RowDigest
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.core.metadata import Column, Metadata
from lora_perf.core.rows import ArrayRows as ArrayRows
from lora_perf.core.rows import Chosen, blocks_of, chosen, row_numbers
from lora_perf.core.rows import FloatRows as FloatRows
from lora_perf.core.rows import RowSource as RowSource

# A block that stays in a last-level cache of today's servers, yet is far larger than the overhead of a call.
BLOCK_NBYTES = 16 << 20
SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Skipped:
    """An adapter file that could not be used: its path in the folder, and why."""

    path: str
    reason: str


class Zoo:
    """Adapters of one layout, with a label each where there are some: `rows` (n, p), `labels` (n,), `classes`, `layout`.

    Nothing is read before it is used: `rows` reads or maps all of them on first use, `blocks` streams.

    Args:
        source: where the rows come from.
        layout: the layers; its p is the width of the rows.
        labels: (n,) class indices; None where nothing is known of the adapters' classes.
        classes: the name of each class index; none without labels.
        split: (n,) 0 train, 1 validation, 2 test, where the zoo carries a split of its own.
        name: what the zoo is called in reports.
        scales: (n, modules) the factor s of dW = s B A, in the order of `layout.modules`, where it is not 1.
        ranks: (n, modules) the rank of each adapter's factors, where they differ; the layout then has the largest of each
            module, and smaller factors are filled with zeros, which leave dW as it is.
        skipped: adapters that were left out when the zoo was opened.
        names: of the adapters, such as the paths of their files; None where they have numbers only.
        metadata: all else that the source says of the adapters, one value each in columns by name.
        promise: what the file that holds all of this says of it.

    A zoo can be pickled and copied: rows in memory go along, others are read again from where they stand, and a source that
    changed meanwhile is refused there.

    Raises:
        LoraPerfError: sizes that contradict each other, labels outside the classes.
    """

    def __init__(
        self,
        source: RowSource,
        layout: Layout,
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        *,
        split: Tensor | None = None,
        name: str = "zoo",
        scales: Tensor | None = None,
        ranks: Tensor | None = None,
        skipped: Sequence[Skipped] = (),
        names: Sequence[str] | Column | None = None,
        metadata: Mapping[str, Any] | None = None,
        promise: Promise | None = None,
    ) -> None:
        _check_sizes(source, layout, labels, classes)
        if split is not None and (
            tuple(split.shape) != (source.n,) or int(split.max()) >= len(SPLIT_NAMES) or int(split.min()) < 0
        ):
            raise LoraPerfError(
                expected="0, 1 or 2 (train, validation, test) for each row as split",
                found=f"shape {tuple(split.shape)}",
                fix="give every row its part or leave the split out",
            )
        for title, table in (("scales", scales), ("ranks", ranks)):
            if table is not None and tuple(table.shape) != (source.n, len(layout.modules)):
                raise LoraPerfError(
                    expected=f"{title} of shape {(source.n, len(layout.modules))}, one for each module of each adapter",
                    found=f"shape {tuple(table.shape)}",
                    fix="give one number for each of layout.modules, or leave them out",
                )
        if names is not None and len(names) != source.n:
            raise LoraPerfError(
                expected=f"a name for each of {source.n} adapters", found=f"{len(names)}", fix="name all of them or none"
            )
        self.source = source
        self.layout = layout
        self.scales = None if scales is None else scales.to(torch.float32)
        self.ranks = None if ranks is None else ranks.to(torch.int64)
        self.labels = None if labels is None else labels.to(torch.int64)
        self.classes = list(classes)
        self.split = split
        self.name = name
        self.skipped = tuple(skipped)
        self.given_names = names if names is None or isinstance(names, Column) else Column(names)
        self.metadata = Metadata(metadata.columns if isinstance(metadata, Metadata) else metadata, source.n)
        self.promise = promise

    def __getstate__(self) -> dict[str, Any]:
        again = ("rows", "names")  # which the source gives again
        return {name: value for name, value in self.__dict__.items() if name not in again}

    @classmethod
    def from_rows(
        cls,
        rows: Tensor,
        layout: Layout,
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        *,
        split: Tensor | None = None,
        name: str = "zoo",
        scales: Tensor | None = None,
        ranks: Tensor | None = None,
        names: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Zoo:
        """A zoo of rows (n, p) that are in memory; float32 rows are shared, others converted."""
        array = rows.detach().to("cpu", torch.float32).contiguous().numpy()
        said: dict[str, Any] = {"split": split, "name": name, "scales": scales, "ranks": ranks}
        return cls(ArrayRows(array), layout, labels, classes, **said, names=names, metadata=metadata)

    def __len__(self) -> int:
        return self.source.n

    def __repr__(self) -> str:
        classes = "no labels" if self.labels is None else f"{len(self.classes)} classes"
        return f"Zoo({self.name!r}, {len(self):,} adapters, {classes}, {self.layout!r})"

    def called(self, i: int) -> str:
        """What messages call adapter i: by its name and number, or by its number alone."""
        return f"adapter {i} ({self.names[i]})" if self.named else f"adapter {i}"

    @property
    def named(self) -> bool:
        """Whether the source names its adapters; `names` counts them otherwise."""
        return self.given_names is not None

    @cached_property
    def names(self) -> list[str]:
        """(n) what each adapter is called: its path or id in the source, else "row 17"."""
        if self.given_names is None:
            return [f"row {i}" for i in range(len(self))]
        return [str(name) for name in self.given_names.values()]

    @property
    def required_labels(self) -> Tensor:
        """The labels (n,), for those who cannot do without.

        Raises:
            LoraPerfError: the zoo has none.
        """
        if self.labels is None:
            columns = f", though columns of metadata ({listed(self.metadata)})" if self.metadata else ""
            raise LoraPerfError(
                expected=f"adapters with labels in {self.name}",
                found=f"none{columns}",
                fix="name the column of the labels (label_column), or put each class into a folder of its own",
            )
        return self.labels

    def select(self, rows: Chosen) -> Zoo:
        """The zoo of some adapters, in the order given here; no weight is read.

        Args:
            rows: row numbers (negative ones from the end), a slice, or n booleans.

        Raises:
            LoraPerfError: rows that are not there, or no row.
        """
        wanted = row_numbers(rows, len(self))
        at = torch.from_numpy(wanted)
        names = Column([f"row {i}" for i in wanted.tolist()]) if self.given_names is None else self.given_names.select(wanted)
        return Zoo(
            chosen(self.source, wanted),
            self.layout,
            None if self.labels is None else self.labels[at],
            self.classes,
            split=None if self.split is None else self.split[at],
            name=self.name,
            scales=None if self.scales is None else self.scales[at],
            ranks=None if self.ranks is None else self.ranks[at],
            names=names,
            metadata=self.metadata.select(wanted),
        )

    def non_finite(self, i: int) -> tuple[str, str] | None:
        """What of adapter i is NaN or infinite ("2 of 24 entries NaN") and in which layer; None where all is finite."""
        row = torch.empty((1, self.layout.p))
        self.source.read(i, i + 1, row.numpy())
        for layer in self.layout:
            entries = row[0, layer.columns]
            bad = entries[~torch.isfinite(entries)]
            if len(bad):
                kind = "NaN" if bool(bad.isnan().any()) else "infinite"
                return f"{len(bad)} of {layer.size} entries {kind}", f"layer {layer.name}"
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of the row matrix."""
        return self.source.n * self.source.p * 4

    @cached_property
    def rows(self) -> Tensor:
        """The row matrix (n, p), float32, in data-set order. Treat it as read-only.

        Raises:
            LoraPerfError: the adapters have different ranks, so that equal columns are not equal entries.
        """
        if self.ranks is not None:
            raise LoraPerfError(
                expected="adapters of one rank for the row matrix",
                found=f"ranks from {int(self.ranks.min())} to {int(self.ranks.max())}",
                fix="use representations of dW (dw_spectrum, dw_sketch, ...), or keep the adapters of one rank",
            )
        return torch.from_numpy(self.source.matrix())

    @property
    def in_memory(self) -> bool:
        """Whether `rows` stand in memory already, so that blocks of them are views."""
        if self.ranks is not None:
            return False
        return isinstance(self.source, ArrayRows) or ("rows" in self.__dict__ and not self.source.mapped)

    def layer(self, name: str) -> Tensor:
        """One layer of all adapters, a view (n, *shape) of `rows`."""
        layer = self.layout[name]
        return self.rows[:, layer.columns].view(len(self), *layer.shape)

    def module(self, name: str) -> tuple[Tensor, Tensor]:
        """The pair (up (n, m, r), down (n, r, k)) of one module, as views of `rows`.

        Raises:
            LoraPerfError: the module is unknown, or one of its two sides is missing.
        """
        sides = {layer.side: layer.name for layer in self.layout if layer.module == name}
        if len(sides) != 2:
            known = dict.fromkeys(layer.module for layer in self.layout)
            raise LoraPerfError(
                expected=f"a module with an up and a down ({listed(known, 3)})",
                found=f"{name!r} with {listed(sides) or 'neither'}",
                fix="iterate over zoo.layout to see all modules",
            )
        return self.layer(sides["up"]), self.layer(sides["down"])

    def block_rows(self, nbytes: int = BLOCK_NBYTES) -> int:
        """Rows in a block of at most `nbytes` (never fewer than one)."""
        return max(1, min(len(self), nbytes // (4 * self.layout.p)))

    def blocks(self, nbytes: int = BLOCK_NBYTES) -> Iterator[tuple[slice, Tensor]]:
        """Yields (slice, tensor (b, p)) over all rows without holding more than `nbytes` of them.

        The tensor is a reused buffer (or a view of rows in memory): use it before the next step, write nothing into it.
        """
        step = self.block_rows(nbytes)
        starts = range(0, len(self), step)
        if self.in_memory:
            for start in starts:
                rows = slice(start, min(start + step, len(self)))
                yield rows, self.rows[rows]
            return
        for rows, block in blocks_of(self.source, step):
            yield rows, torch.from_numpy(block)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content: rows, labels, classes, layout and split, however they are stored.

        Cost: one streamed pass over the rows at the speed of xxh3 (about that of memory).

        Raises:
            DamagedError: it is not the one that was promised.
        """
        return self._hashed[0]

    @property
    def row_hashes(self) -> NDArray[np.uint64]:
        """(n, 2) a hash of the values of each row: rows of the same values have the same hash.

        Cost: that of `fingerprint`, whose pass it shares.
        """
        return self._hashed[1]

    @cached_property
    def _hashed(self) -> tuple[str, NDArray[np.uint64]]:
        digest = RowDigest()
        hashes: list[bytes] = []
        for _, block in self.blocks():
            rows = block.numpy()
            digest.update(rows)
            hashes += map(xxhash.xxh3_128_digest, rows)
        fingerprint = digest.finish(self)
        if self.promise is not None and fingerprint != self.promise.fingerprint:
            raise DamagedError(
                expected=f"an undamaged packed zoo at {self.promise.path}",
                found=f"content of fingerprint {fingerprint} where {self.promise.fingerprint} was packed",
                fix="pack the zoo again",
            )
        return fingerprint, np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 2)


def _check_sizes(source: RowSource, layout: Layout, labels: Tensor | None, classes: Sequence[str]) -> None:
    if source.p != layout.p or (labels is not None and tuple(labels.shape) != (source.n,)):
        shape = "" if labels is None else f" and labels of shape {tuple(labels.shape)}"
        raise LoraPerfError(
            expected=f"rows of {layout.p} parameters{'' if labels is None else ' and one label a row'}",
            found=f"{source.n} rows of {source.p}{shape}",
            fix="make layout, rows and labels agree",
        )
    if source.n == 0:
        raise LoraPerfError(expected="at least one adapter", found="none", fix="check the filter or the split of the data set")
    if labels is None:
        if classes:
            raise LoraPerfError(
                expected="labels with the classes, or neither", found=f"{len(classes)} classes alone", fix="give both or none"
            )
    elif int(labels.min()) < 0 or int(labels.max()) >= len(classes):
        raise LoraPerfError(
            expected=f"labels from 0 to {len(classes) - 1} ({listed(classes)})",
            found=f"labels from {int(labels.min())} to {int(labels.max())}",
            fix="give every label a class name",
        )
