"""Values that stay where they are: some columns of a source of rows, read as they are used and never copied as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.resources import memory_left
from lora_perf.core.rows import ArrayRows, RowSource, gathered
from lora_perf.core.showing import size

# Smaller matrices are tensors: what a copy of them takes is nothing, and a batch of it is one call.
STORED_NBYTES = 64 << 20
_BLOCK_NBYTES = 16 << 20
_GAP = 1024  # columns between two that are read with them: a page
_READERS = 4  # threads that read columns: a disk serves some requests sooner than one after the other


class StoredValues:
    """A matrix (n, f) of float32 in a source of rows, of which blocks, batches and columns are tensors when they are asked for.

    Args:
        source: n rows.
        columns: ranges of its columns, in the order of the matrix; all by default.

    >>> source = ArrayRows(np.arange(12, dtype=np.float32).reshape(3, 4))
    >>> values = StoredValues(source, [slice(0, 1), slice(2, 4)])
    >>> values.shape, values.index_select(0, torch.tensor([2, 0])).tolist()
    (torch.Size([3, 3]), [[8.0, 10.0, 11.0], [0.0, 2.0, 3.0]])
    """

    device = torch.device("cpu")
    dtype = torch.float32
    is_cuda = False

    def __init__(self, source: RowSource, columns: Sequence[slice] | None = None) -> None:
        self.source = source
        ranges = [slice(0, source.p)] if columns is None else list(columns)
        self.columns = tuple(_joined(ranges))
        self.shape = torch.Size((source.n, sum(one.stop - one.start for one in self.columns)))

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def nbytes(self) -> int:
        """Of the matrix, were it a tensor."""
        return 4 * len(self) * self.shape[1]

    @property
    def whole(self) -> bool:
        """Whether these are all columns of the source."""
        return self.columns == (slice(0, self.source.p),)

    def __getitem__(self, rows: slice) -> Tensor:
        """A copy (b, f) of neighbouring rows, read at once."""
        start, stop, _ = rows.indices(len(self))
        if isinstance(self.source, ArrayRows):
            return self._chosen(torch.from_numpy(self.source.matrix()[start:stop]))
        block = torch.empty((max(0, stop - start), self.source.p))
        self.source.read(start, stop, block.numpy())
        return self._chosen(block)

    def blocks(self, nbytes: int = _BLOCK_NBYTES) -> Iterator[tuple[slice, Tensor]]:
        """All rows in order, some at a time: (slice, (b, f)); a block may be written over when the next one is asked for."""
        step = max(1, nbytes // (4 * self.source.p))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self[rows]

    def index_select(self, axis: int, index: Tensor) -> Tensor:
        """A copy of some rows (0) or columns (1), in the order given, as of a tensor.

        Cost: rows are read one by one in the order of the source. Of columns no more is read than pages that hold them where
            the source is a packed file, so that all columns, some at a time, are one pass over the disk; of another source
            they take a pass over all rows.
        """
        if axis == 0:
            wanted = index.numpy()
            if isinstance(self.source, ArrayRows):
                return self._chosen(torch.from_numpy(self.source.matrix()).index_select(0, index))
            return self._chosen(torch.from_numpy(gathered(self.source, wanted)))
        if isinstance(self.source, ArrayRows):
            return torch.from_numpy(self.source.matrix()).index_select(1, self._places()[index])
        out = torch.empty((len(self), len(index)))
        if self.source.columnwise and len(index):
            self._read_columns(self._places()[index], out)
            return out
        for rows, block in self.blocks():
            torch.index_select(block, 1, index, out=out[rows])
        return out

    def select(self, index: NDArray[np.int64]) -> StoredValues:
        """The matrix of some of its columns, ascending; nothing is read."""
        places = self._places().numpy()[index]
        starts = np.flatnonzero(np.diff(places, prepend=places[:1] - 2) != 1)
        ends = [*starts[1:].tolist(), len(places)]
        return StoredValues(
            self.source, [slice(int(places[a]), int(places[b - 1]) + 1) for a, b in zip(starts, ends, strict=True)]
        )

    def tensor(self) -> Tensor:
        """All values as a tensor: a mapping of the file where these are all columns of one, else a copy.

        Raises:
            LoraPerfError: they do not fit in memory.
        """
        if self.whole and (self.source.mapped or isinstance(self.source, ArrayRows)):
            return torch.from_numpy(self.source.matrix())
        left = memory_left()
        if self.nbytes > left:
            raise LoraPerfError(
                expected=f"{size(self.nbytes)} of memory for the values of {len(self):,} adapters",
                found=f"{size(left)} left",
                fix="read them as they are used (features.matrix.blocks()), or choose fewer adapters or layers",
            )
        out = torch.empty(self.shape)
        for rows, block in self.blocks():
            out[rows] = block
        return out

    def _read_columns(self, places: Tensor, out: Tensor) -> None:
        """Reads columns of the source into `out` (n, w): those that stand near each other together, some rows a thread."""
        wanted, back = places.unique(return_inverse=True)
        cuts = [0, *((wanted.diff() > _GAP).nonzero().flatten() + 1).tolist(), len(wanted)]
        spans = [slice(int(wanted[a]), int(wanted[b - 1]) + 1) for a, b in pairwise(cuts)]
        begins = [0, *accumulate(span.stop - span.start for span in spans)]
        shifts = [span.start - begin for span, begin in zip(spans, begins, strict=False)]
        inside = torch.cat([wanted[a:b] - shift for (a, b), shift in zip(pairwise(cuts), shifts, strict=True)])[back]
        direct = len(inside) == begins[-1] and bool((inside.diff() == 1).all())

        def read(rows: slice) -> None:
            block = out[rows] if direct else torch.empty((rows.stop - rows.start, begins[-1]))
            for span, (start, stop) in zip(spans, pairwise(begins), strict=True):
                self.source.read_columns(rows.start, rows.stop, span, block[:, start:stop].numpy())
            if not direct:
                torch.index_select(block, 1, inside, out=out[rows])

        step = max(1, _BLOCK_NBYTES // (4 * begins[-1]))
        blocks = [slice(start, min(start + step, len(self))) for start in range(0, len(self), step)]
        with ThreadPoolExecutor(_READERS, "columns") as pool:
            for done in [pool.submit(read, rows) for rows in blocks]:
                done.result()

    def _chosen(self, rows: Tensor) -> Tensor:
        """The columns of this matrix, of rows (b, p) of the source."""
        if self.whole:
            return rows
        if len(self.columns) > 1024:
            return rows.index_select(1, self._places())
        return torch.cat([rows[:, one] for one in self.columns], dim=1)

    def _places(self) -> Tensor:
        """(f,) where each column stands in the source."""
        return torch.cat([torch.arange(one.start, one.stop) for one in self.columns])


def chosen_columns(values: Tensor | StoredValues, index: NDArray[np.int64]) -> Tensor | StoredValues:
    """Some columns, ascending, of a matrix: a copy where that is small or on a GPU, else values that stay where they are."""
    if isinstance(values, StoredValues):
        return values.select(index)
    if values.device.type == "cpu" and 4 * len(values) * len(index) > STORED_NBYTES and values.is_contiguous():
        return StoredValues(ArrayRows(values.detach().numpy())).select(index)
    return values.index_select(1, torch.from_numpy(index).to(values.device))


def _joined(ranges: Sequence[slice]) -> Iterator[slice]:
    """Ranges, neighbours joined."""
    current: slice | None = None
    for one in ranges:
        if current is not None and current.stop == one.start:
            current = slice(current.start, one.stop)
        else:
            if current is not None:
                yield current
            current = slice(one.start, one.stop)
    if current is not None:
        yield current
