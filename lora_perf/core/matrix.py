"""A zoo as a matrix: its rows at once, layer by layer, or in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.core.resources import memory_left
from lora_perf.core.rows import ArrayRows, RowSource, blocks_of

# A block that stays in a last-level cache of today's servers, yet is far larger than the overhead of a call.
BLOCK_NBYTES = 16 << 20
_ASKED = 1 << 30  # bytes of rows from which on it is asked whether they fit


class Matrix:
    """Rows of one layout (n, p), float32; nothing is read before it is used.

    Attributes:
        source: where the rows come from.
        layout: the layers; its p is the width of the rows.
        ranks: (n, modules) the rank of each adapter's factors, where they differ.

    >>> import lora_perf
    >>> zoo = lora_perf.load("digits")
    >>> up, down = zoo.module(zoo.layout.modules[0].name)
    >>> up.shape, down.shape, torch.equal(up, zoo.layer(zoo.layout.modules[0].up.name))
    (torch.Size([1000, 32, 1]), torch.Size([1000, 1, 32]), True)
    >>> [block.shape for _, block in zoo.blocks(zoo.nbytes // 2)]
    [torch.Size([500, 720]), torch.Size([500, 720])]
    """

    source: RowSource
    layout: Layout
    ranks: Tensor | None

    def __len__(self) -> int:
        return self.source.n

    def non_finite(self, i: int) -> list[tuple[str, str]]:
        """What of adapter i is NaN or infinite ("2 of 24 entries NaN"), and the name of the layer, for each that has some."""
        row, found = torch.empty((1, self.layout.p)), []
        self.source.read(i, i + 1, row.numpy())
        for layer in self.layout:
            entries = row[0, layer.columns]
            bad = entries[~torch.isfinite(entries)]
            if len(bad):
                kind = "NaN" if bool(bad.isnan().any()) else "infinite"
                found.append((f"{len(bad)} of {layer.size} entries {kind}", layer.name))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the row matrix."""
        return self.source.n * self.source.p * 4

    @cached_property
    def rows(self) -> Tensor:
        """The row matrix (n, p), float32, in data-set order. Treat it as read-only.

        Raises:
            LoraPerfError: the adapters have different ranks, so that equal columns are not equal entries; rows that are to be
                read into memory and do not fit there.
        """
        self.refuse_ranks()
        nbytes = 4 * len(self) * self.layout.p
        if nbytes > _ASKED and not (self.source.mapped or isinstance(self.source, ArrayRows)) and nbytes > memory_left():
            raise LoraPerfError(
                expected=f"memory for {nbytes / 1e9:,.1f} GB of rows",
                found=f"{memory_left() / 1e9:,.1f} GB left",
                fix="pack them first, zoo.save(PATH), and load that file, which is mapped; or read zoo.blocks()",
            )
        return torch.from_numpy(self.source.matrix())

    def refuse_ranks(self) -> None:
        """Refuses what compares rows entry by entry, where the adapters have different ranks."""
        if self.ranks is not None:
            raise LoraPerfError(
                expected="adapters of one rank for the row matrix",
                found=f"ranks from {int(self.ranks.min())} to {int(self.ranks.max())}",
                fix="use representations of dW (dw_spectrum, dw_sketch, ...), or keep the adapters of one rank",
            )

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
