"""Synthetic zoos of any size with a class signal planted: the data of tests and benchmarks.

    python -m lora_perf.zoos.synthetic OUT --adapters 10000 --storage nested

Content follows from the seed, the layout, the rank, the classes and the number of adapters alone; the five
storages of the same arguments hold the same adapters, a folder of adapter files in the order of their classes.

How adapter i of class c is made, for each module (m out, k in, rank r), z standing for standard normal noise:

    down = sqrt(1/k) * (sqrt(1-e) z + sqrt(e) g v_c)
    up   = 0.01 * strength * (u + tail_c u^3),   u = sqrt(1-e) z + sqrt(e) g u_c

- direction: u_c, v_c are fixed per class, g is a random sign per adapter, module and rank component. It is the
  gauge that training leaves: the product up @ down keeps the direction, the mean of either factor does not.
- scale: log(strength) is normal around a mean fixed per class and module; norms, spectra and magnitudes see it.
- shape: tail_c is fixed per class and module; kurtosis and outer quantiles see it, scale-free features too.

The class differences shrink as modules and entries grow, so that every layout is about equally hard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.command.status import exit_status
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.text import printable
from lora_perf.core.zoo import FloatRows, RowSource, Zoo
from lora_perf.io import store
from lora_perf.io.atomic import cannot_write, replacing_folder
from lora_perf.zoos.files import Columns, write_adapters, write_dataset

CLASSES = ("airplane", "bird", "cat", "car", "dog", "fish", "fruit", "ship", "snake", "vegetable")

_UP_STD = 0.01
_JITTER = 0.3  # standard deviation of log(strength) among the adapters of one class, and among modules of one adapter
# The sizes of the three signals, chosen so that linear probes on 1,000 adapters of ten classes are far from 0.1 and from 1.
_DIRECTION = 0.5
_SCALE = 0.6
_TAIL = 0.6
# Rows are generated in blocks of this size. It is part of the content: another size gives other rows.
_BLOCK_NBYTES = 16 << 20
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class SyntheticConfig:
    """Writes a synthetic zoo of LoRA adapters."""

    out: Path
    """Folder (nested, array2d, parquet, folder) or file (packed) to make; it must not exist."""
    adapters: int = 1000
    """Adapters, at least one a class."""
    layout: Literal["sd15", "tiny"] = "sd15"
    """sd15: Stable Diffusion 1.5, 128 layers; tiny: the same names, 24 layers of width 8 to 16."""
    rank: int = 1
    """Rank of every module."""
    classes: int = 10
    """Classes, of about equally many adapters."""
    storage: Literal["nested", "array2d", "parquet", "packed", "folder"] = "nested"
    """Lists of lists or Array2D columns (load_from_disk), parquet files, one packed file, or a file an adapter."""
    seed: int = 0
    """Same seed, same zoo."""
    layers: int | None = None
    """Only the first layers of the layout; all by default."""
    shards: int | None = None
    """Files of the data set; by default at least three, of at most 500 MB."""
    preset: Literal["sanity-check"] | None = None
    """sanity-check: five adapters of three classes, twenty SD 1.5 layers, as Array2D."""


_NO_SHARDS = {"packed": "the one packed file", "folder": "a file an adapter"}
_PRESETS: dict[str, dict[str, Any]] = {
    "sanity-check": {"adapters": 5, "layout": "sd15", "rank": 1, "classes": 3, "storage": "array2d", "layers": 20}
}


def write(config: SyntheticConfig) -> None:
    """Writes the zoo to `config.out`, which appears only when it is complete.

    Cost: memory does not grow with the number of adapters.

    Raises:
        LoraPerfError: arguments that contradict each other, a path that exists or cannot be written.
    """
    config = resolved(config)
    if os.path.lexists(config.out):
        raise LoraPerfError(
            expected="a path that does not exist yet", found=str(config.out), fix="remove it or choose another path"
        )
    zoo = stream(config)
    if config.storage == "packed":
        try:
            store.write(zoo, config.out)
        except OSError as error:
            raise cannot_write(config.out, error) from None
    elif config.storage == "folder":
        with replacing_folder(config.out) as folder:
            write_adapters(zoo, folder)
    else:
        with replacing_folder(config.out) as folder:
            write_dataset(zoo, folder, config.storage, columns=_columns(zoo, config), shards=config.shards)


def generate(config: SyntheticConfig) -> Zoo:
    """The zoo that `write` writes, in memory; `config.out` and `config.storage` play no part."""
    zoo = stream(config)
    return Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, name=zoo.name)


def stream(config: SyntheticConfig) -> Zoo:
    """The same zoo, its rows made block by block as they are read."""
    config = resolved(config)
    layout = layout_of(config)
    # Readers of data sets number the classes in sorted order.
    classes = sorted([*CLASSES[: config.classes], *(f"class_{i}" for i in range(len(CLASSES), config.classes))])
    labels = np.random.default_rng([config.seed, 1]).permutation(np.arange(config.adapters) % config.classes)
    rows = SyntheticRows(layout, labels, config.classes, config.seed)
    return Zoo(rows, layout, torch.from_numpy(labels), classes, name=f"synthetic-{config.layout}-{config.adapters}")


def resolved(config: SyntheticConfig) -> SyntheticConfig:
    """The config with its preset spelled out, once every value was seen to be possible."""
    if config.preset is not None:
        preset = _PRESETS[config.preset]
        for field in fields(config):
            value = getattr(config, field.name)
            if field.name in preset and value not in (field.default, preset[field.name]):
                raise LoraPerfError(
                    expected=f"--{field.name} {preset[field.name]} with the preset {config.preset}",
                    found=str(value),
                    fix=f"leave out --preset or --{field.name}",
                )
        config = replace(config, preset=None, **preset)
    width, layers = (320, 128) if config.layout == "sd15" else (8, 24)
    for name, low, high in (
        ("classes", 1, None),
        ("adapters", config.classes, None),
        ("rank", 1, width),
        ("seed", 0, None),
        ("layers", 1, layers),
        ("shards", 1, config.adapters),
    ):
        value = getattr(config, name)
        if value is not None and (value < low or (high is not None and value > high)):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise LoraPerfError(expected=f"--{name} {limits}", found=str(value), fix=f"change --{name}")
    if config.storage in _NO_SHARDS and config.shards is not None:
        what = _NO_SHARDS[config.storage]
        raise LoraPerfError(expected=f"no --shards for {what}", found=str(config.shards), fix="leave out --shards")
    return config


def layout_of(config: SyntheticConfig) -> Layout:
    """The layout of a zoo: 16 blocks of Stable Diffusion 1.5, or three small ones of the same names."""
    if config.layout == "sd15":
        width, text = (320, 640, 1280), 768
        blocks = [(f"down_blocks.{i}.attentions.{j}", width[i]) for i in range(3) for j in range(2)]
        blocks += [("mid_block.attentions.0", width[2])]
        blocks += [(f"up_blocks.{i}.attentions.{j}", width[3 - i]) for i in range(1, 4) for j in range(3)]
    else:
        text = 12
        blocks = [("down_blocks.0.attentions.0", 8), ("mid_block.attentions.0", 16), ("up_blocks.1.attentions.0", 8)]
    shapes = []
    for block, width_ in blocks:
        for attention in ("attn1", "attn2"):
            for projection in ("to_q", "to_v"):
                module = f"unet.{block}.transformer_blocks.0.{attention}.{projection}"
                inputs = text if (attention, projection) == ("attn2", "to_v") else width_
                shapes.append((f"{module}.lora.down.weight", (config.rank, inputs)))
                shapes.append((f"{module}.lora.up.weight", (width_, config.rank)))
    return Layout(shapes[: config.layers])


class SyntheticRows(RowSource):
    """Rows made block by block, each from a generator of its own, so that any part gives the same values.

    Cost: reading in order makes each block once; one block of 16 MB and one direction (p,) a class are held.
    """

    def __init__(self, layout: Layout, labels: NDArray[np.int64], classes: int, seed: int) -> None:
        self.n, self.p = len(labels), layout.p
        self._layout = layout
        self._labels = labels
        self._seed = seed
        self._step = max(1, min(_BLOCK_ROWS, _BLOCK_NBYTES // (4 * self.p)))
        self._modules = {module: j for j, module in enumerate(dict.fromkeys(layer.module for layer in layout))}
        modules = len(self._modules)
        rng = np.random.default_rng([seed, 0])
        self._directions = rng.standard_normal((classes, self.p), np.float32)
        self._log_strengths = rng.standard_normal((classes, modules), np.float32) * (_SCALE / modules**0.5)
        # The error of a kurtosis falls with the root of the number of entries.
        entries = sum(layer.size for layer in layout if layer.side == "up")
        self._tails = np.abs(rng.standard_normal((classes, modules), np.float32)) * (_TAIL / max(1, entries) ** 0.5)
        # The share e of a factor's energy that lies in its direction. Inner products of dW grow with e^2 sqrt(m k) per
        # module against a noise of 1, and with the root of the number of modules.
        width = float(np.mean([layer.size / layer.rank for layer in layout]))
        self._share = min(0.5, (_DIRECTION / (width * modules**0.5)) ** 0.5)
        self._made: tuple[int, FloatRows] | None = None

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        for index in range(start // self._step, -(-stop // self._step)):
            block, first = self._block(index), index * self._step
            low, high = max(start, first), min(stop, first + len(block))
            np.copyto(out[low - start : high - start], block[low - first : high - first])

    def _block(self, index: int) -> FloatRows:
        made = self._made  # threads may read at once: each goes on with the block that it saw or made
        if made is None or made[0] != index:
            made = self._made = (index, self._make(index))
        return made[1]

    def _make(self, index: int) -> FloatRows:
        labels = self._labels[index * self._step : (index + 1) * self._step]
        b, modules, rank = len(labels), len(self._modules), self._layout.layers[0].rank
        rng = np.random.default_rng([self._seed, 2, index])
        signs = rng.choice(np.array([-1, 1], np.float32), (b, modules, rank)) * np.float32(self._share**0.5)
        jitter = rng.standard_normal((b, 1), np.float32) + rng.standard_normal((b, modules), np.float32)
        strengths = np.exp(_JITTER * jitter + self._log_strengths[labels]) * np.float32(_UP_STD)
        tails = self._tails[labels]
        rows = rng.standard_normal((b, self.p), np.float32)
        rows *= np.float32((1 - self._share) ** 0.5)
        for layer in self._layout:
            j = self._modules[layer.module]
            x = rows[:, layer.columns].reshape(b, *layer.shape)  # a view: only the last axis is split
            direction = self._directions[labels, layer.columns].reshape(x.shape)
            if layer.side == "down":
                x += signs[:, j, :, None] * direction
                x *= np.float32(layer.shape[1] ** -0.5)
            else:
                x += signs[:, j, None, :] * direction
                x *= (tails[:, j, None, None] * x * x + 1) * strengths[:, j, None, None]
        return rows


def _columns(zoo: Zoo, config: SyntheticConfig) -> Columns:
    """The columns of the original data sets beside the weights."""
    rng = np.random.default_rng([config.seed, 3])
    labels, classes = zoo.required_labels.numpy(), np.array(zoo.classes)
    leaves = rng.integers(0, 10, len(zoo))
    num_images = rng.integers(5, 21, len(zoo))
    step_loss = rng.gamma(4.0, 0.025, len(zoo))

    def columns(start: int, stop: int) -> dict[str, NDArray[Any]]:
        rows = slice(start, stop)
        names = [f"{classes[label]}_leaf_{leaf}" for label, leaf in zip(labels[rows], leaves[rows], strict=True)]
        return {
            "category_label": classes[labels[rows]],
            "category_name": np.array(names),
            "folder": np.array([f"{name}/{start + i}" for i, name in enumerate(names)]),
            "num_images": num_images[rows],
            "step_loss": step_loss[rows],
        }

    return columns


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status."""
    import tyro

    name = "python -m lora_perf.zoos.synthetic"

    def work() -> int:
        config = tyro.cli(SyntheticConfig, prog=name, args=arguments, config=(tyro.conf.PositionalRequiredArgs,))
        write(config)
        print(printable(f"wrote {config.out}"))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
