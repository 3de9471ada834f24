"""The streamed pass: all representations of all layers, each weight read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lora_perf.errors import LoraPerfError
from lora_perf.features import Features, concatenate
from lora_perf.layout import Layer
from lora_perf.representations import Concatenation, Entries, Matrices, PerMatrix, Representation, resolve
from lora_perf.threads import for_each_block
from lora_perf.zoo import Zoo

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
        each Features.values is (n, f) float32; columns go layer by layer, those of `ensemble` part by part.
        `flat_vec` of all layers is `zoo.rows` itself, not a copy, on a CPU.

    Cost: each weight is read once. Memory is one block, its temporaries and the features.

    Raises:
        LoraPerfError: an unknown representation; no layer, or one of another zoo; a NaN or infinity, whose adapter and layer
            are named.
    """
    wanted = resolve(names)
    layers = _in_layout_order(zoo, layers)
    device = torch.device(device)
    sink = _Sink(zoo, wanted, layers, device)
    grouped = _group_by_shape(layers, device)
    suspect = torch.zeros(len(zoo), dtype=torch.bool, device=device)

    def take(rows: slice, block: Tensor) -> None:
        suspect[rows] = ~torch.isfinite(block.sum(dim=1))
        if device.type == "cpu":
            _refuse_non_finite(zoo, suspect, rows)
        sink.take_entries(rows, block)
        for group in grouped:
            sink.take_matrices(rows, group, _stack(block, group))

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


def _in_layout_order(zoo: Zoo, layers: Sequence[Layer] | None) -> tuple[Layer, ...]:
    if layers is None:
        return zoo.layout.layers
    wanted = set(layers)
    chosen = tuple(layer for layer in zoo.layout if layer in wanted)
    if not chosen or len(chosen) != len(wanted):
        raise LoraPerfError(
            expected="layers of this zoo, at least one",
            found=f"{len(wanted - set(chosen))} of another zoo" if wanted else "none",
            fix="take them from zoo.layout or zoo.layout.group(name)",
        )
    return chosen


class _Group:
    """Layers of one shape, up to transposition: they are computed together."""

    def __init__(self, members: list[tuple[int, Layer]], device: torch.device) -> None:
        self.layers = [layer for _, layer in members]
        self.places = torch.tensor([place for place, _ in members], device=device)
        self.transposed = torch.tensor([_is_tall(layer) for layer in self.layers], device=device)


def _is_tall(layer: Layer) -> bool:
    return layer.shape[0] > layer.shape[1]


def _group_by_shape(layers: Sequence[Layer], device: torch.device) -> list[_Group]:
    members: dict[tuple[int, ...], list[tuple[int, Layer]]] = defaultdict(list)
    for place, layer in enumerate(layers):
        members[tuple(sorted(layer.shape))].append((place, layer))
    return [_Group(group, device) for group in members.values()]


def _stack(block: Tensor, group: _Group) -> Matrices:
    """The matrices of one group in a block (b, p), adapter by adapter, tall ones transposed."""
    views = [block[:, layer.columns].unflatten(1, layer.shape) for layer in group.layers]
    stacked = torch.stack(
        [view.mT if _is_tall(layer) else view for view, layer in zip(views, group.layers, strict=True)], dim=1
    )
    return Matrices(stacked.flatten(0, 1), group.transposed.repeat(len(block)))


class _Sink:
    """The tables that the pass fills, and the features made of them."""

    def __init__(self, zoo: Zoo, wanted: list[Representation], layers: Sequence[Layer], device: torch.device) -> None:
        self._zoo = zoo
        self._layers = layers
        parts = [part for one in wanted for part in (resolve(one.parts) if isinstance(one, Concatenation) else [one])]
        self._computed = {part.name: part for part in parts if isinstance(part, PerMatrix)}
        self._tables = {
            name: torch.empty((len(zoo), len(layers), len(part.features)), dtype=torch.float32, device=device)
            for name, part in self._computed.items()
        }
        self._entries: Tensor | None = None
        self._copies_entries = False
        if any(isinstance(part, Entries) for part in parts):
            self._copies_entries = device.type != "cpu" or len(layers) != len(zoo.layout)
            if self._copies_entries:
                self._entries = torch.empty((len(zoo), sum(layer.size for layer in layers)), dtype=torch.float32, device=device)
            else:
                self._entries = zoo.rows  # from here on the blocks of the pass are views of these rows

    def take_entries(self, rows: slice, block: Tensor) -> None:
        if self._entries is not None and self._copies_entries:
            self._entries[rows] = torch.cat([block[:, layer.columns] for layer in self._layers], dim=1)

    def take_matrices(self, rows: slice, group: _Group, matrices: Matrices) -> None:
        for name, part in self._computed.items():
            features = part.compute(matrices).unflatten(0, (rows.stop - rows.start, len(group.layers)))
            self._tables[name][rows].index_copy_(1, group.places, features)

    def features(self, one: Representation) -> Features:
        if isinstance(one, Concatenation):
            return concatenate({part.name: self.features(part) for part in resolve(one.parts)})
        positions = self._zoo.layout.indices(self._layers)
        parts = tuple((position, one.names(layer)) for position, layer in zip(positions, self._layers, strict=True))
        if isinstance(one, Entries):
            assert self._entries is not None
            return Features(self._entries, self._zoo.layout, parts)
        return Features(self._tables[one.name].flatten(1), self._zoo.layout, parts)


def _cuda_blocks(zoo: Zoo, device: torch.device, nbytes: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks on a GPU: read into pinned memory, copied once by a stream of their own while the last one is computed."""
    step = zoo.block_rows(nbytes)
    shape = (step, zoo.layout.p)
    pinned = [torch.empty(shape, dtype=torch.float32, pin_memory=True) for _ in range(2)]
    landed = [torch.empty(shape, dtype=torch.float32, device=device) for _ in range(2)]
    copied = [torch.cuda.Event() for _ in range(2)]
    used = [torch.cuda.Event() for _ in range(2)]
    copies = torch.cuda.Stream(device)
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
        found = torch.empty((1, zoo.layout.p))
        zoo.source.read(row, row + 1, found.numpy())
        for layer in zoo.layout:
            entries = found[0, layer.columns]
            bad = entries[~torch.isfinite(entries)]
            if len(bad):
                raise LoraPerfError(
                    expected="finite weights",
                    found=f"{len(bad)} of {layer.size} entries {'NaN' if bool(bad.isnan().any()) else 'infinite'} "
                    f"in adapter {row}, layer {layer.name}",
                    fix="leave the adapter out or train it again",
                )
