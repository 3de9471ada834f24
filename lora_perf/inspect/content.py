"""One streamed pass over the weights: what is needed to compare adapters, a few hundred numbers of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xxhash
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.threads import for_each_block
from lora_perf.core.zoo import FloatRows, RowSource, Zoo
from lora_perf.representations.stacks import ModuleStack, module_stacks
from lora_perf.representations.streaming import CPU_BLOCK_NBYTES
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.sketch import dw_sketch

# Entries of A that are compared between pairs of adapters: of independent A's their cosine is 0 with a deviation of 1/32.
ENTRIES = 1024
# Adapters whose A's are compared pair by pair.
SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Content:
    """What the pass leaves of n adapters.

    Attributes:
        digests: a hash of each adapter's factors, scales and ranks.
        finite: (n,) bool: no weight and no scale is NaN or infinite. The numbers of other adapters are those of zeros.
        unread: why rows could not be read, by index; they count as not finite.
        norms: (n, modules) float64, Frobenius norm of each dW.
        sketches: (n, 256) float32, sums of the modules' `dw_sketch`: their inner products are those of dW in expectation.
        downs: (modules, 2) float64: over the adapters with A != 0, the squared norm of the sum of A / |A|, and their number.
        sample: (q,) the adapters of `entries`.
        entries: (q, f) float32: the same entries of each one's A / |A|, about ENTRIES of them; modules weigh the same.
    """

    digests: tuple[bytes, ...]
    finite: Tensor
    unread: dict[int, LoraPerfError]
    norms: Tensor
    sketches: Tensor
    downs: Tensor
    sample: Tensor
    entries: Tensor


class _Tolerant(RowSource):
    """Rows of which those that cannot be read are NaN."""

    def __init__(self, source: RowSource) -> None:
        self.n, self.p = source.n, source.p
        self.errors: dict[int, LoraPerfError] = {}
        self._source = source

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        try:
            self._source.read(start, stop, out)
        except LoraPerfError as error:
            if stop - start > 1:
                for i in range(start, stop):
                    self.read(i, i + 1, out[i - start : i - start + 1])
            else:
                self.errors[start] = error
                out[:] = np.nan


def content_of(zoo: Zoo, progress: Callable[[int], object] | None = None) -> Content:
    """The content of the adapters of a zoo.

    Cost: each weight is read once; about (m + k) (20 r + 2 r^2) flops a module. Memory is one block a thread, some rows,
    and 1 kB + 8 bytes a module for each adapter.
    """
    n, modules = len(zoo), zoo.layout.modules
    source = _Tolerant(zoo.source)
    tolerant = Zoo(source, zoo.layout, zoo.labels, zoo.classes, scales=zoo.scales, ranks=zoo.ranks)
    digests: list[bytes] = [b""] * n
    finite = torch.ones(n, dtype=torch.bool)
    norms = torch.zeros(n, len(modules), dtype=torch.float64)
    sketches = torch.zeros(n, SKETCH_WIDTH**2)
    downs = _Downs(zoo)
    stacks = module_stacks(zoo.layout, zoo.layout, torch.device("cpu"))

    def take(rows: slice, block: Tensor) -> None:
        scales = None if zoo.scales is None else zoo.scales[rows]
        digests[rows] = _digests(zoo, rows, block)
        good = _finite(block, scales)
        finite[rows] = good
        if not bool(good.all()):
            block = torch.where(good[:, None], block, 0)
            scales = None if scales is None else torch.where(good[:, None], scales, 0)
        _take_updates(stacks, zoo.layout, block, scales, norms[rows], sketches[rows])
        downs.take(rows, block)

    for_each_block(tolerant, take, CPU_BLOCK_NBYTES * torch.get_num_threads(), progress)
    return Content(tuple(digests), finite, source.errors, norms, sketches, downs.totals(), downs.sample, downs.entries)


class _Downs:
    """What is kept of the A's."""

    def __init__(self, zoo: Zoo) -> None:
        self._modules = zoo.layout.modules
        self._places = _places(zoo.layout)
        self._sums = torch.zeros(zoo.layout.p, dtype=torch.float64)
        self._counts = torch.zeros(len(self._modules), dtype=torch.float64)
        self._lock = threading.Lock()
        self.sample = torch.linspace(0, len(zoo) - 1, min(len(zoo), SAMPLE), dtype=torch.float64).round().long()
        self.entries = torch.zeros(len(self.sample), sum(map(len, self._places)))

    def take(self, rows: slice, block: Tensor) -> None:
        among = (self.sample >= rows.start) & (self.sample < rows.stop)
        chosen = self.sample[among] - rows.start
        sums, counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)
        units = [self.entries[among, :0]]
        for j, (module, places) in enumerate(zip(self._modules, self._places, strict=True)):
            down = block[:, module.down.columns]
            norms = torch.linalg.vector_norm(down, dim=1, dtype=torch.float64)
            inverse = torch.where(norms > 0, 1 / norms, 0)
            sums[module.down.columns] = inverse @ down.double()
            counts[j] = (norms > 0).sum()
            # By the root, entries stand for the whole of A, so that modules of any size weigh the same.
            weights = inverse[chosen, None] * (down.shape[1] / len(places)) ** 0.5
            units.append((down[chosen[:, None], places] * weights).float())
        self.entries[among] = torch.cat(units, dim=1)
        with self._lock:
            self._sums += sums
            self._counts += counts

    def totals(self) -> Tensor:
        """`Content.downs`."""
        squares = [float(self._sums[module.down.columns].square().sum()) for module in self._modules]
        return torch.stack([torch.tensor(squares, dtype=torch.float64), self._counts], dim=1)


def _digests(zoo: Zoo, rows: slice, block: Tensor) -> list[bytes]:
    """A hash of each row, with its scales and ranks."""
    beside = [table[rows].contiguous().numpy() for table in (zoo.scales, zoo.ranks) if table is not None]
    found = []
    for i, row in enumerate(block.numpy()):
        digest = xxhash.xxh3_128(np.ascontiguousarray(row).data.cast("B"))
        for table in beside:
            digest.update(table[i].tobytes())
        found.append(digest.digest())
    return found


def _finite(block: Tensor, scales: Tensor | None) -> Tensor:
    """(b,) whether all weights and scales of an adapter are numbers."""
    good = torch.isfinite(block.sum(dim=1))
    # Large entries may overflow their sum where none is at fault.
    for i in torch.nonzero(~good)[:, 0].tolist():
        good[i] = bool(torch.isfinite(block[i]).all())
    return good if scales is None else good & torch.isfinite(scales).all(dim=1)


def _take_updates(
    stacks: list[ModuleStack], layout: Layout, block: Tensor, scales: Tensor | None, norms: Tensor, sketches: Tensor
) -> None:
    """Fills the norms (b, modules) and the sketches (b, 256) of the adapters of a block."""
    places = {module.name: place for place, module in enumerate(layout.modules)}
    for stack in stacks:
        updates = stack.updates(block, scales)
        of_stack = [places[module.name] for module in stack.modules]
        norms[:, of_stack] = (updates.unit_frobenius * updates.scale).view(len(of_stack), -1).T
        parts = dw_sketch.function(updates).view(len(of_stack), len(block), -1)
        # Signs of different modules are independent, so sums of their sketches are sketches of all of them together.
        sketches += parts.sum(dim=0)


def entries_of_module(layout: Layout) -> int:
    """How many entries of each A are compared, where it has so many."""
    return max(1, ENTRIES // max(1, len(layout.modules)))


def _places(layout: Layout) -> list[Tensor]:
    """For each module, the entries of its A that are compared, evenly spread."""
    each = entries_of_module(layout)
    return [
        torch.linspace(0, module.down.size - 1, min(each, module.down.size), dtype=torch.float64).round().long()
        for module in layout.modules
    ]
