"""One streamed pass over the weights: what is needed to compare adapters, a few hundred numbers of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.digest import new_hashes, row_hashes
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.threads import for_each_block
from lora_perf.core.zoo import FloatRows, RowSource, Zoo
from lora_perf.distributed import over_rows
from lora_perf.representations.factors.matrices import ratio
from lora_perf.representations.factors.spectral import entropy
from lora_perf.representations.stacks import ModuleStack, module_stacks
from lora_perf.representations.streaming import CPU_BLOCK_NBYTES
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.sketch import dw_sketch

# Entries of A that are compared between pairs of adapters: of independent A's their cosine is 0 with a deviation of 1/32.
ENTRIES = 1024
# Adapters whose A's are compared pair by pair.
SAMPLE = 1000
# Whole numbers in which entries of A / |A| are summed: exact for a million adapters, wrong by 1e-12 for each at most.
_UNIT = 2.0**40
_TASK_NBYTES = 1 << 30  # of rows that a worker of a cluster takes at a time


@dataclass(frozen=True, slots=True)
class Content:
    """What the pass leaves of n adapters.

    Attributes:
        hashes: (n, 2) uint64, of each adapter's factors.
        digests: a hash of each adapter's factors, scales and ranks.
        finite: (n,) bool: no weight and no scale is NaN or infinite. The numbers of other adapters are those of zeros.
        unread: why rows could not be read, by index; they count as not finite.
        norms: (n, modules) float64, Frobenius norm of each dW.
        sketches: (n, 256) float32, sums of the modules' `dw_sketch`: their inner products are those of dW in expectation.
        downs: (modules, 2) float64: over the adapters with A != 0, the squared norm of the sum of A / |A|, and their number.
        sample: (q,) the adapters of `entries`.
        entries: (q, f) float32: the same entries of each one's A / |A|, about ENTRIES of them; modules weigh the same.
        effective_ranks: (q, modules) float64: of each dW of the sample, 0 where dW is; (q, 0) unless they were asked for.
    """

    hashes: NDArray[np.uint64]
    digests: tuple[bytes, ...]
    finite: Tensor
    unread: dict[int, LoraPerfError]
    norms: Tensor
    sketches: Tensor
    downs: Tensor
    sample: Tensor
    entries: Tensor
    effective_ranks: Tensor


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


def content_of(
    zoo: Zoo, progress: Callable[[int], object] | None = None, scheduler: str | None = None, *, spectra: bool = False
) -> Content:
    """The content of the adapters of a zoo.

    Args:
        scheduler: of a Dask cluster whose workers see the source of the zoo; what they find is what one process finds.
        spectra: whether to find the effective ranks of the sample.

    Cost: each weight is read once; about (m + k) (20 r + 2 r^2) flops a module, with `spectra` the singular values of those
    of at most 1,000 adapters. Memory is one block a thread, some rows, and 1 kB + 8 bytes a module for each adapter.
    """
    sample = torch.linspace(0, len(zoo) - 1, min(len(zoo), SAMPLE), dtype=torch.float64).round().long()
    if scheduler is None:
        parts = [_part(zoo, sample, progress, spectra)]
    else:
        found = over_rows(scheduler, _part_of_rows, zoo, _TASK_NBYTES, sample, spectra, progress=progress)
        parts = [part for _, part in sorted(found, key=lambda one: one[0].start)]
    hashes = np.concatenate([part.hashes for part in parts])
    unread = {row: error for part in parts for row, error in part.unread.items()}
    named = ("finite", "norms", "sketches", "entries", "effective_ranks")
    finite, norms, sketches, entries, effective = (torch.cat([getattr(part, name) for part in parts]) for name in named)
    downs = _totals(zoo.layout, parts)
    return Content(hashes, _digests(zoo, hashes), finite, unread, norms, sketches, downs, sample, entries, effective)


@dataclass
class _Part:
    """The content of some neighbouring rows. Sums are of whole numbers, so that they are the same in any order."""

    hashes: NDArray[np.uint64]
    finite: Tensor
    unread: dict[int, LoraPerfError]
    norms: Tensor
    sketches: Tensor
    sums: Tensor  # (p,) int64, of the entries of A / |A|, in units of 1 / _UNIT
    counts: Tensor  # (modules,) int64, of the A != 0
    entries: Tensor
    effective_ranks: Tensor


def _part_of_rows(zoo: Zoo, rows: slice, sample: Tensor, spectra: bool) -> _Part:
    """A task: the content of some rows of a zoo, whose numbers in it count."""
    among = sample[(sample >= rows.start) & (sample < rows.stop)]
    part = _part(zoo, among - rows.start, None, spectra)
    part.unread = {rows.start + row: error for row, error in part.unread.items()}
    return part


def _part(zoo: Zoo, sample: Tensor, progress: Callable[[int], object] | None, spectra: bool) -> _Part:
    n, modules, places = len(zoo), zoo.layout.modules, _places(zoo.layout)
    source = _Tolerant(zoo.source)
    tolerant = Zoo(source, zoo.layout, zoo.labels, zoo.classes, scales=zoo.scales, ranks=zoo.ranks)
    part = _Part(
        hashes=new_hashes(n),
        finite=torch.ones(n, dtype=torch.bool),
        unread=source.errors,
        norms=torch.zeros(n, len(modules), dtype=torch.float64),
        sketches=torch.zeros(n, SKETCH_WIDTH**2),
        sums=torch.zeros(zoo.layout.p, dtype=torch.int64),
        counts=torch.zeros(len(modules), dtype=torch.int64),
        entries=torch.zeros(len(sample), sum(map(len, places))),
        effective_ranks=torch.zeros(len(sample), len(modules) if spectra else 0, dtype=torch.float64),
    )
    stacks = module_stacks(zoo.layout, zoo.layout, torch.device("cpu"))
    lock = threading.Lock()

    def take(rows: slice, block: Tensor) -> None:
        scales = None if zoo.scales is None else zoo.scales[rows]
        part.hashes[rows] = row_hashes(block.numpy())
        good = _finite(block, scales)
        part.finite[rows] = good
        if not bool(good.all()):
            block = torch.where(good[:, None], block, 0)
            scales = None if scales is None else torch.where(good[:, None], scales, 0)
        _take_updates(stacks, zoo.layout, block, scales, part.norms[rows], part.sketches[rows])
        among = (sample >= rows.start) & (sample < rows.stop)
        if spectra and bool(among.any()):
            chosen = sample[among] - rows.start
            some = None if scales is None else scales[chosen]
            part.effective_ranks[among] = _effective_ranks(stacks, zoo.layout, block[chosen], some)
        sums, counts, part.entries[among] = _of_downs(zoo.layout, places, block, sample[among] - rows.start)
        with lock:
            part.sums += sums
            part.counts += counts

    for_each_block(tolerant, take, CPU_BLOCK_NBYTES * torch.get_num_threads(), progress)
    return part


def _of_downs(layout: Layout, places: list[Tensor], block: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`_Part.sums` and `_Part.counts` of a block, and the entries of some of its rows."""
    sums = torch.zeros(layout.p, dtype=torch.int64)
    counts = torch.zeros(len(layout.modules), dtype=torch.int64)
    units = [torch.zeros(len(chosen), 0)]
    for j, (module, at) in enumerate(zip(layout.modules, places, strict=True)):
        down = block[:, module.down.columns]
        norms = torch.linalg.vector_norm(down, dim=1, dtype=torch.float64)
        inverse = torch.where(norms > 0, 1 / norms, 0)
        sums[module.down.columns] = (down * (_UNIT * inverse)[:, None]).round_().to(torch.int64).sum(dim=0)
        counts[j] = (norms > 0).sum()
        # By the root, entries stand for the whole of A, so that modules of any size weigh the same.
        weights = inverse[chosen, None] * (down.shape[1] / len(at)) ** 0.5
        units.append((down[chosen[:, None], at] * weights).float())
    return sums, counts, torch.cat(units, dim=1)


def _totals(layout: Layout, parts: list[_Part]) -> Tensor:
    """`Content.downs`."""
    sums = torch.stack([part.sums for part in parts]).sum(dim=0).double() / _UNIT
    squares = [float(sums[module.down.columns].square().sum()) for module in layout.modules]
    counts = torch.stack([part.counts for part in parts]).sum(dim=0).double()
    return torch.stack([torch.tensor(squares, dtype=torch.float64), counts], dim=1)


def _digests(zoo: Zoo, hashes: NDArray[np.uint64]) -> tuple[bytes, ...]:
    """A hash of each adapter: of that of its factors with its scales and ranks."""
    tables = [table.contiguous().numpy() for table in (zoo.scales, zoo.ranks) if table is not None]
    if not tables:
        return tuple(row.tobytes() for row in hashes)
    return tuple(
        xxhash.xxh3_128_digest(b"".join([row.tobytes(), *(table[i].tobytes() for table in tables)]))
        for i, row in enumerate(hashes)
    )


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


def _effective_ranks(stacks: list[ModuleStack], layout: Layout, rows: Tensor, scales: Tensor | None) -> Tensor:
    """(b, modules) exponential of the entropy of the singular values over their sum (Roy and Vetterli 2007); 0 where dW is."""
    places = {module.name: place for place, module in enumerate(layout.modules)}
    found = torch.zeros(len(rows), len(layout.modules), dtype=torch.float64)
    for stack in stacks:
        values = stack.updates(rows, scales).unit_singular_values
        shares = ratio(values, values.sum(dim=1, keepdim=True).expand_as(values))
        effective = torch.where(values[:, 0] > 0, entropy(shares).exp(), 0)
        of_stack = [places[module.name] for module in stack.modules]
        found[:, of_stack] = effective.view(len(of_stack), -1).T
    return found


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
