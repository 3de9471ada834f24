"""The streamed pass: all representations of all layers, each weight read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_perf.core.ambient import in_plain_torch
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.rows import Chosen
from lora_perf.core.split import Split
from lora_perf.core.threads import cuda_blocks, for_each_block
from lora_perf.core.zoo import Zoo
from lora_perf.distributed import refuse_scheduler
from lora_perf.representations import REPRESENTATIONS, Representation, count, refuse_ranks
from lora_perf.representations.controls import Numbers
from lora_perf.representations.elsewhere import made_elsewhere, streamed_elsewhere
from lora_perf.representations.kinds import PerModule
from lora_perf.representations.learned.fitting import Fitted
from lora_perf.representations.learned.settled import Settled
from lora_perf.representations.registry import members, refuse_non_finite, sets
from lora_perf.representations.sink import Sink

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
    sink = Sink(zoo, wanted, layers, device, draw)
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


def _refuse_non_finite(zoo: Zoo, suspect: Tensor, rows: slice) -> None:
    """Looks closer at rows whose sum is not finite (a sum of large entries may overflow where no entry is at fault)."""
    for row in (suspect[rows].nonzero()[:, 0] + rows.start).tolist():
        refuse_non_finite(zoo, row)
