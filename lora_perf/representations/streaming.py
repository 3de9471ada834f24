"""The streamed pass: all representations of all layers, each weight read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_perf.core.ambient import in_plain_torch
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Features, Part, concatenate
from lora_perf.core.layout import Layer, Module
from lora_perf.core.rows import Chosen
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues
from lora_perf.core.threads import cuda_blocks, for_each_block
from lora_perf.core.zoo import Zoo
from lora_perf.distributed import refuse_scheduler
from lora_perf.representations import REPRESENTATIONS, Matrices, Modules, Representation, count, refuse_ranks
from lora_perf.representations.controls import Numbers
from lora_perf.representations.door import called
from lora_perf.representations.elsewhere import made_elsewhere, streamed_elsewhere
from lora_perf.representations.entries import standing
from lora_perf.representations.kinds import Concatenation, Entries, PerMatrix, PerModule, places_of
from lora_perf.representations.learned.fitting import Fitted
from lora_perf.representations.learned.settled import Settled
from lora_perf.representations.registry import USERS, members, refuse_non_finite, sets
from lora_perf.representations.stacks import LayerStack, ModuleStack, layer_stacks, module_stacks

# Of one thread: small enough that a block's matrices and their temporaries stay in the caches of its core, large enough
# that the some hundred calls of a block, which hold Python's lock, cost little. On two cores 1 MB took five times as long,
# 4 MB and 16 MB one and a half times as long. A GPU wants more work a call.
CPU_BLOCK_NBYTES = 8 << 20
CUDA_BLOCK_NBYTES = 256 << 20


@in_plain_torch
def represent(
    zoo: Zoo,
    names: Iterable[str],
    *,
    layers: Sequence[Layer] | str | None = None,
    device: torch.device | str = "cpu",
    train: Chosen | Split | None = None,
    seed: int = 42,
    dimensions: int | None = None,
    block_nbytes: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int], object] | None = None,
    draw: int = 0,
) -> dict[str, Features]:
    """Features of a zoo, by name of the representation.

    Args:
        zoo: n adapters.
        names: keys of REPRESENTATIONS, or sets of them (ten, dw, learned, users).
        layers: the layers to represent, each once and in layout order whatever the order here, or the name of a layer group
            ("visual", "attn2.to_v"); all by default.
        device: where features are computed and stay.
        train: the rows that learned representations are fitted on, as `Zoo.select` takes them, or a `Split`. By default those
            of an experiment with default settings, `make_split(zoo.labels, zoo.classes, zoo.split).train`: the train rows of
            the zoo's own split, or 70 % of each class. A zoo without labels has those of its split alone.
        seed: of everything random in a fit (the default rows do not follow it); the same seed gives the same features on the
            same machine and number of threads.
        dimensions: the number of features of a learned representation; by default its own choice.
        block_nbytes: bytes of rows in memory at a time, of what is computed in the pass.
        scheduler: HOST:PORT of a Dask scheduler, or "local:N" for N processes here, whose workers make what the pass makes, to
            the bit; they see the source of the zoo under the same path. Users' representations are made here.
        progress: called after each block of the pass with the number of its adapters.
        draw: of the random vectors of sketches, made here; 0 are those that all zoos and programs share. Fits follow `seed`.

    Shapes:
        each Features.values is (n, f) float32; columns go layer by layer, or module by module for representations of the
        update dW = s B A; those of `ensemble` part by part. Columns of learned ones belong to all layers together.
        `flat_vec` is no copy on a CPU but for small zoos: of all layers it is `zoo.rows` itself, else columns of these or of
        the file, read as they are used (`Features.matrix`).

    Cost: one pass for all but learned ones and controls: each weight is read once, memory is one block, its temporaries and
        the features. Then one fit a learned representation.

    Raises:
        LoraPerfError: an unknown representation; no layer, or one of another zoo; layers without a complete module for a
            representation of dW; adapters of different ranks for one of the factors; a NaN or infinity among weights or
            scales, whose adapter and layer or module are named; train rows that are too few, equal or absent; more dimensions
            than the train rows span; a user's function that makes something else than it promised.

    >>> import lora_perf
    >>> features = lora_perf.represent(lora_perf.load("digits"), ["stats", "pca"])
    >>> features["stats"].shape, features["pca"].shape
    ((1000, 168), (1000, 256))
    """
    _refuse_other(zoo)
    wanted = REPRESENTATIONS.resolve(names if isinstance(names, str) else _members(names))
    layers = zoo.layout.group(layers) if isinstance(layers, str) else zoo.layout.choose(layers)
    device = _device(device)
    refuse_ranks(zoo, [one.name for one in wanted])
    for one in wanted:
        count(one.name, zoo.layout, layers)
    streamed = [one for one in wanted if one.streamed]
    refuse_scheduler(scheduler)
    found: dict[str, Features] = {}
    there = [one.name for one in streamed if made_elsewhere(one)]
    if scheduler is not None and device.type == "cpu" and not draw and there:
        found |= streamed_elsewhere(zoo, there, layers, scheduler, progress)
        streamed = [one for one in streamed if one.name not in found]
        progress = None
    if streamed:
        found |= _stream(zoo, streamed, layers, device, block_nbytes, progress, draw)
    for one in wanted:
        if isinstance(one, Fitted | Settled):
            found[one.name] = one.make(zoo, layers, device, train, seed, dimensions)
        elif isinstance(one, Numbers):
            found[one.name] = one.make(zoo, layers, device)
    return {one.name: found[one.name] for one in wanted}


def streamed_alone(zoo: Zoo, one: PerModule, layers: Sequence[Layer], device: torch.device) -> Features:
    """The features of one of updates, which need not stand in the registry, by a pass of its own."""
    return _stream(zoo, [one], layers, device, None, None)[one.name]


def _refuse_other(zoo: Any) -> None:
    if not isinstance(zoo, Zoo):
        found = f"a value of type {type(zoo).__name__}"
        raise LoraPerfError(expected="a Zoo to represent", found=found, fix="open it first: lora_perf.load(...)")


def _members(names: Iterable[str]) -> list[str]:
    """Names of representations and of controls, where some are those of sets."""
    known = sets()
    return [one for name in names for one in (members(name) if name in known else (name,))]


def _device(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise LoraPerfError(expected="cpu or cuda as device", found=repr(device), fix="choose one of these") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise LoraPerfError(expected=f"a CUDA GPU for device={str(device)!r}", found="none", fix="leave the device out")
    return found


def _stream(
    zoo: Zoo,
    wanted: list[Representation],
    layers: Sequence[Layer],
    device: torch.device,
    block_nbytes: int | None,
    progress: Callable[[int], object] | None,
    draw: int = 0,
) -> dict[str, Features]:
    _refuse_non_finite_scales(zoo)
    sink = _Sink(zoo, wanted, layers, device, draw)
    suspect = torch.zeros(len(zoo), dtype=torch.bool, device=device)

    def take(rows: slice, block: Tensor) -> None:
        suspect[rows] = ~torch.isfinite(block.sum(dim=1))
        if device.type == "cpu":
            _refuse_non_finite(zoo, suspect, rows)
        sink.take(rows, block)

    if device.type == "cpu":
        for_each_block(zoo, take, block_nbytes or CPU_BLOCK_NBYTES * torch.get_num_threads(), progress)
    else:
        for rows, block in cuda_blocks(zoo, device, block_nbytes or CUDA_BLOCK_NBYTES):
            take(rows, block)
            if progress is not None:
                progress(rows.stop - rows.start)
    if device.type != "cpu":  # there each answer is a synchronisation, so the question is asked once
        _refuse_non_finite(zoo, suspect, slice(0, len(zoo)))
    return {one.name: sink.features(one) for one in wanted}


def _refuse_non_finite_scales(zoo: Zoo) -> None:
    if zoo.scales is not None and not bool(torch.isfinite(zoo.scales).all()):
        row, place = (int(found[0]) for found in torch.nonzero(~torch.isfinite(zoo.scales), as_tuple=True))
        raise LoraPerfError(
            expected="finite scales",
            found=f"{float(zoo.scales[row, place])} in {zoo.called(row)}, module {zoo.layout.modules[place].name}",
            fix="leave the adapter out or repair its alpha",
        )


class _Sink:
    """The tables that the pass fills, and the features made of them."""

    def __init__(
        self, zoo: Zoo, wanted: list[Representation], layers: Sequence[Layer], device: torch.device, draw: int
    ) -> None:
        self._zoo = zoo
        self._layers = layers
        parts = [part for one in wanted for part in ([one] if one.parts == (one.name,) else REPRESENTATIONS.resolve(one.parts))]
        parts.sort(key=lambda part: part.family == USERS)  # what a function may write into is not what others are made of
        self._parts = {part.name: part.describe(zoo.layout, layers) or () for part in parts}
        self._of_matrices = {part.name: part for part in parts if isinstance(part, PerMatrix)}
        self._of_modules = {part.name: part for part in parts if isinstance(part, PerModule)}
        self._layer_stacks = layer_stacks(layers, device) if self._of_matrices else []
        self._module_stacks = module_stacks(zoo.layout, layers, device, draw) if self._of_modules else []
        self._tables = {
            name: torch.empty(
                (len(zoo), sum(len(part.names) for part in self._parts[name])), dtype=torch.float32, device=device
            )
            for name in (*self._of_matrices, *self._of_modules)
        }
        self._columns = {part.name: _columns(self._parts[part.name]) for part in parts if self._is_placed(part)}
        self._entries: Tensor | StoredValues | None = None
        self._copies_entries = False
        if any(isinstance(part, Entries) for part in parts):
            self._entries = standing(zoo, layers, device)
            self._copies_entries = self._entries is None
            if self._copies_entries:
                self._entries = torch.empty((len(zoo), sum(layer.size for layer in layers)), dtype=torch.float32, device=device)

    @staticmethod
    def _is_placed(one: Representation) -> bool:
        """Whether its columns are sought layer by layer; the package's own are the same for all layers."""
        return isinstance(one, PerModule) or (isinstance(one, PerMatrix) and one.family == USERS)

    def take(self, rows: slice, block: Tensor) -> None:
        """Computes what is wanted of a block (b, p), stack by stack, so that temporaries are those of one stack."""
        if self._copies_entries and isinstance(self._entries, Tensor):
            self._entries[rows] = torch.cat([block[:, layer.columns] for layer in self._layers], dim=1)
        for layers in self._layer_stacks:
            self._take_matrices(rows, layers, layers.matrices(block))
        scales = None if self._zoo.scales is None else self._zoo.scales[rows]
        for modules in self._module_stacks:
            self._take_updates(rows, modules, modules.updates(block, scales))

    def _take_matrices(self, rows: slice, stack: LayerStack, matrices: Matrices) -> None:
        for name, one in self._of_matrices.items():
            if one.family != USERS:  # the same features of every layer
                features = one.function(matrices).unflatten(0, (rows.stop - rows.start, len(stack.layers)))
                self._tables[name][rows].unflatten(1, (len(self._layers), -1)).index_copy_(1, stack.places, features)
                continue
            places = [self._zoo.layout.indices([layer]) for layer in stack.layers]
            if width := self._width(one, places):
                values = self._called(one, matrices, width, rows, stack.layers).unflatten(0, (-1, len(places)))
                self._write(name, rows, places, values.transpose(0, 1).flatten(0, 1))

    def _take_updates(self, rows: slice, stack: ModuleStack, updates: Modules) -> None:
        layout = self._zoo.layout
        for name, one in self._of_modules.items():
            if one.family == USERS or one.features(stack.modules[0]):
                places = [places_of(layout, module) for module in stack.modules]
                if one.family != USERS:
                    self._write(name, rows, places, one.function(updates))
                elif width := self._width(one, places):
                    self._write(name, rows, places, self._called(one, updates, width, rows, stack.modules))
            if one.of_pairs is not None and stack.pairs:
                places = [places_of(layout, *pair) for pair in stack.pairs]
                self._write(name, rows, places, one.of_pairs(stack.of_pairs(updates)))

    def _called(
        self, one: PerMatrix | PerModule, batch: Any, width: int, rows: slice, members: Sequence[Layer | Module]
    ) -> Tensor:
        """What a user's function makes: adapter by adapter of layers, module by module of updates."""

        def where(i: int) -> str:
            of_layers = isinstance(one, PerMatrix)
            row, member = divmod(i, len(members)) if of_layers else divmod(i, rows.stop - rows.start)[::-1]
            return f"{self._zoo.called(rows.start + row)}, {'layer' if of_layers else 'module'} {members[member].name}"

        return called(one, batch, width, where)

    def _width(self, one: PerMatrix | PerModule, places: list[tuple[int, ...]]) -> int:
        """How many features each of these has, 0 where none has any."""
        columns = self._columns[one.name]
        widths = {columns[place].stop - columns[place].start for place in places if place in columns}
        if len(widths) > 1:
            raise LoraPerfError(
                expected=f"as many features of {one.name} for all layers of one shape, also transposed",
                found=listed(sorted(widths)),
                fix="let the names depend on the shape alone, or name none for some layers",
            )
        return max(widths, default=0)

    def _write(self, name: str, rows: slice, places: list[tuple[int, ...]], features: Tensor) -> None:
        """Writes features (places b, f), place by place, into the columns of their places."""
        for place, of_place in zip(places, features.unflatten(0, (len(places), -1)), strict=True):
            if place in self._columns[name]:
                self._tables[name][rows, self._columns[name][place]] = of_place

    def features(self, one: Representation) -> Features:
        if isinstance(one, Concatenation):
            return concatenate({part.name: self.features(part) for part in REPRESENTATIONS.resolve(one.parts)})
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


def _refuse_non_finite(zoo: Zoo, suspect: Tensor, rows: slice) -> None:
    """Looks closer at rows whose sum is not finite (a sum of large entries may overflow where no entry is at fault)."""
    for row in (suspect[rows].nonzero()[:, 0] + rows.start).tolist():
        refuse_non_finite(zoo, row)
