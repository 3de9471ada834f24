"""The streamed pass: all representations of all layers, each weight read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Features, Part, concatenate
from lora_perf.core.layout import Layer
from lora_perf.core.threads import for_each_block
from lora_perf.core.zoo import Zoo
from lora_perf.representations import (
    REPRESENTATIONS,
    Concatenation,
    Entries,
    Matrices,
    Modules,
    PerMatrix,
    PerModule,
    Representation,
    count,
    resolve,
)
from lora_perf.representations.registry import places_of
from lora_perf.representations.stacks import LayerStack, ModuleStack, layer_stacks, module_stacks

# Of one thread: small enough that a block's matrices and their temporaries stay in the caches of its core, large enough
# that the some hundred calls of a block, which hold Python's lock, cost little. On two cores 1 MB took five times as long,
# 4 MB and 16 MB one and a half times as long. A GPU wants more work a call.
CPU_BLOCK_NBYTES = 8 << 20
CUDA_BLOCK_NBYTES = 256 << 20


def represent(
    zoo: Zoo,
    names: Iterable[str],
    *,
    layers: Sequence[Layer] | None = None,
    device: torch.device | str = "cpu",
    block_nbytes: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Features]:
    """Features of a zoo, by name of the representation.

    Args:
        zoo: n adapters.
        names: keys of REPRESENTATIONS.
        layers: the layers to represent, each once and in layout order whatever the order here; all by default.
        device: where features are computed and stay.
        block_nbytes: bytes of rows in memory at a time.
        progress: called after each block with the number of its adapters.

    Shapes:
        each Features.values is (n, f) float32; columns go layer by layer, or module by module for representations of the
        update dW = s B A; those of `ensemble` part by part.
        `flat_vec` of all layers is `zoo.rows` itself, not a copy, on a CPU.

    Cost: each weight is read once. Memory is one block, its temporaries and the features.

    Raises:
        LoraPerfError: an unknown representation; no layer, or one of another zoo; layers without a complete module for a
            representation of dW; adapters of different ranks for one of the factors; a NaN or infinity among weights or
            scales, whose adapter and layer or module are named.
    """
    wanted = resolve(names)
    layers = zoo.layout.choose(layers)
    device = torch.device(device)
    _check(zoo, wanted, layers)
    sink = _Sink(zoo, wanted, layers, device)
    suspect = torch.zeros(len(zoo), dtype=torch.bool, device=device)

    def take(rows: slice, block: Tensor) -> None:
        suspect[rows] = ~torch.isfinite(block.sum(dim=1))
        if device.type == "cpu":
            _refuse_non_finite(zoo, suspect, rows)
        sink.take(rows, block)

    if device.type == "cpu":
        for_each_block(zoo, take, block_nbytes or CPU_BLOCK_NBYTES * torch.get_num_threads(), progress)
    else:
        for rows, block in _cuda_blocks(zoo, device, block_nbytes or CUDA_BLOCK_NBYTES):
            take(rows, block)
            if progress is not None:
                progress(rows.stop - rows.start)
    if device.type != "cpu":  # there each answer is a synchronisation, so the question is asked once
        _refuse_non_finite(zoo, suspect, slice(0, len(zoo)))
    return {one.name: sink.features(one) for one in wanted}


def _check(zoo: Zoo, wanted: Sequence[Representation], layers: Sequence[Layer]) -> None:
    """Refuses representations that cannot be made of these layers of this zoo."""
    for one in wanted:
        count(one.name, zoo.layout, layers)
        if zoo.ranks is not None and not isinstance(one, PerModule):
            raise LoraPerfError(
                expected=f"adapters of one rank for {one.name}, which looks at the entries of factors",
                found=f"ranks from {int(zoo.ranks.min())} to {int(zoo.ranks.max())}",
                fix=f"choose among {listed(name for name, each in REPRESENTATIONS.items() if isinstance(each, PerModule))}",
            )
    if zoo.scales is not None and not bool(torch.isfinite(zoo.scales).all()):
        row, place = (int(found[0]) for found in torch.nonzero(~torch.isfinite(zoo.scales), as_tuple=True))
        raise LoraPerfError(
            expected="finite scales",
            found=f"{float(zoo.scales[row, place])} in {zoo.called(row)}, module {zoo.layout.modules[place].name}",
            fix="leave the adapter out or repair its alpha",
        )


class _Sink:
    """The tables that the pass fills, and the features made of them."""

    def __init__(self, zoo: Zoo, wanted: list[Representation], layers: Sequence[Layer], device: torch.device) -> None:
        self._zoo = zoo
        self._layers = layers
        parts = [part for one in wanted for part in (resolve(one.parts) if isinstance(one, Concatenation) else [one])]
        self._parts = {part.name: part.describe(zoo.layout, layers) for part in parts}
        self._of_matrices = {part.name: part for part in parts if isinstance(part, PerMatrix)}
        self._of_modules = {part.name: part for part in parts if isinstance(part, PerModule)}
        self._layer_stacks = layer_stacks(layers, device) if self._of_matrices else []
        self._module_stacks = module_stacks(zoo.layout, layers, device) if self._of_modules else []
        self._tables = {
            name: torch.empty(
                (len(zoo), sum(len(part.names) for part in self._parts[name])), dtype=torch.float32, device=device
            )
            for name in (*self._of_matrices, *self._of_modules)
        }
        self._columns = {name: _columns(self._parts[name]) for name in self._of_modules}
        self._entries: Tensor | None = None
        self._copies_entries = False
        if any(isinstance(part, Entries) for part in parts):
            self._copies_entries = device.type != "cpu" or len(layers) != len(zoo.layout)
            if self._copies_entries:
                self._entries = torch.empty((len(zoo), sum(layer.size for layer in layers)), dtype=torch.float32, device=device)
            else:
                self._entries = zoo.rows  # from here on the blocks of the pass are views of these rows

    def take(self, rows: slice, block: Tensor) -> None:
        """Computes what is wanted of a block (b, p), stack by stack, so that temporaries are those of one stack."""
        if self._entries is not None and self._copies_entries:
            self._entries[rows] = torch.cat([block[:, layer.columns] for layer in self._layers], dim=1)
        for layers in self._layer_stacks:
            self._take_matrices(rows, layers, layers.matrices(block))
        scales = None if self._zoo.scales is None else self._zoo.scales[rows]
        for modules in self._module_stacks:
            self._take_updates(rows, modules, modules.updates(block, scales))

    def _take_matrices(self, rows: slice, stack: LayerStack, matrices: Matrices) -> None:
        for name, one in self._of_matrices.items():
            features = one.compute(matrices).unflatten(0, (rows.stop - rows.start, len(stack.layers)))
            self._tables[name][rows].unflatten(1, (len(self._layers), -1)).index_copy_(1, stack.places, features)

    def _take_updates(self, rows: slice, stack: ModuleStack, updates: Modules) -> None:
        layout = self._zoo.layout
        for name, one in self._of_modules.items():
            if one.features(stack.modules[0]):
                self._write(name, rows, [places_of(layout, module) for module in stack.modules], one.compute(updates))
            if one.compute_pairs is not None and stack.pairs:
                places = [places_of(layout, *pair) for pair in stack.pairs]
                self._write(name, rows, places, one.compute_pairs(stack.of_pairs(updates)))

    def _write(self, name: str, rows: slice, places: list[tuple[int, ...]], features: Tensor) -> None:
        """Writes features (places b, f), place by place, into the columns of their places."""
        for place, of_place in zip(places, features.unflatten(0, (len(places), -1)), strict=True):
            self._tables[name][rows, self._columns[name][place]] = of_place

    def features(self, one: Representation) -> Features:
        if isinstance(one, Concatenation):
            return concatenate({part.name: self.features(part) for part in resolve(one.parts)})
        if isinstance(one, Entries):
            assert self._entries is not None
            return Features(self._entries, self._zoo.layout, self._parts[one.name], self._zoo.given_names)
        return Features(self._tables[one.name], self._zoo.layout, self._parts[one.name], self._zoo.given_names)


def _columns(parts: Sequence[Part]) -> dict[tuple[int, ...], slice]:
    """Which columns stand for which layers."""
    found: dict[tuple[int, ...], slice] = {}
    start = 0
    for part in parts:
        found[part.layers] = slice(start, start + len(part.names))
        start += len(part.names)
    return found


def _cuda_blocks(zoo: Zoo, device: torch.device, nbytes: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks on a GPU: read into pinned memory, copied once by a stream of their own while the last one is computed."""
    step = zoo.block_rows(nbytes)
    shape = (step, zoo.layout.p)
    pinned = [torch.empty(shape, dtype=torch.float32, pin_memory=True) for _ in range(2)]
    landed = [torch.empty(shape, dtype=torch.float32, device=device) for _ in range(2)]
    copied = [torch.cuda.Event() for _ in range(2)]
    used = [torch.cuda.Event() for _ in range(2)]
    copies = torch.cuda.Stream(device)
    copies.wait_stream(torch.cuda.current_stream(device))  # the buffers may be memory that earlier work still reads
    for turn, start in enumerate(range(0, len(zoo), step)):
        side = turn % 2
        stop = min(start + step, len(zoo))
        copied[side].synchronize()  # the pinned buffer is free again
        zoo.source.read(start, stop, pinned[side][: stop - start].numpy())
        with torch.cuda.stream(copies):
            copies.wait_event(used[side])
            landed[side][: stop - start].copy_(pinned[side][: stop - start], non_blocking=True)
            copied[side].record(copies)
        torch.cuda.current_stream(device).wait_event(copied[side])
        yield slice(start, stop), landed[side][: stop - start]
        used[side].record(torch.cuda.current_stream(device))


def _refuse_non_finite(zoo: Zoo, suspect: Tensor, rows: slice) -> None:
    """Looks closer at rows whose sum is not finite (a sum of large entries may overflow where no entry is at fault)."""
    for row in (suspect[rows].nonzero()[:, 0] + rows.start).tolist():
        if fault := zoo.non_finite(row):
            raise LoraPerfError(
                expected="finite weights",
                found=f"{fault[0]} in {zoo.called(row)}, {fault[1]}",
                fix="leave the adapter out (--skip-bad) or train it again",
            )
