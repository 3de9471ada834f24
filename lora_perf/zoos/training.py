"""Fine-tuning many adapters at once: what a zoo of digits is made of, and how.

The images of each digit are divided into three pools before anything else, so that train, validation and test
adapters share no image. Each adapter has random streams of its own, so its weights depend on the seed and its
index, not on the adapters beside it.

Letters: n adapters, p parameters of one, b noisy images of one in a step, r rank, (m, k) shape of a module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import SPLIT_NAMES
from lora_perf.zoos.denoiser import (
    BLOCKS,
    DIGITS,
    NEUTRAL,
    PIXELS,
    PROJECTIONS,
    TEXT_WIDTH,
    WIDTH,
    Denoiser,
    Factors,
    loss,
    prompt,
)

MODULES = tuple(f"{block}.{projection}" for block in BLOCKS for projection in PROJECTIONS)
SHARES = (0.7, 0.1, 0.2)  # of the adapters and of the images: train, validation, test
_CHECK_DRAWS = 32  # noises an image by which an adapter is compared with the base model
# What a random stream is for, the second number of its seed (the base model has 0).
_POOLS, _PLAN, _TRAIN, _SHARED, _CHECK = range(1, 6)


@dataclass(frozen=True)
class Config:
    """How a zoo of digits is made; the embedded ones were made with the defaults."""

    out: Path
    """The packed file to write, *.safetensors; its card (*.json) is written beside it."""
    shared_a: bool = False
    """All adapters start from one A, instead of each from its own."""
    adapters: int = 1000
    """Adapters in all; a multiple of 100 keeps the split of every digit at 70/10/20."""
    images: int = 2
    """Images that one adapter is trained on."""
    steps: int = 40
    """Training steps of an adapter."""
    draws: int = 4
    """Noisy versions of each image in a step."""
    rate: float = 1e-2
    """Learning rate of the adapters (Adam)."""
    rank: int = 1
    """Rank of the adapters."""
    base_steps: int = 1500
    """Training steps of the base model."""
    base_batch: int = 128
    """Images in a step of the base model."""
    base_rate: float = 4e-3
    """Highest learning rate of the base model (Adam, one cycle)."""
    neutral_share: float = 0.2
    """Share of the base model's prompts that do not name the digit."""
    seed: int = 0
    """Seed of everything random."""

    @property
    def name(self) -> str:
        return "digits-shared" if self.shared_a else "digits"

    @property
    def card(self) -> Path:
        return self.out.with_suffix(".json")

    def check(self) -> None:
        """Refuses what cannot work, before any time is spent."""
        counts = ("images", "steps", "draws", "rank", "base_steps", "base_batch")
        wrong = {name: getattr(self, name) for name in counts if getattr(self, name) < 1}
        rates = ("rate", "base_rate", "neutral_share")
        wrong |= {name: getattr(self, name) for name in rates if not 0 < getattr(self, name) < 1}
        if self.seed < 0:
            wrong["seed"] = self.seed
        if wrong:
            raise LoraPerfError(
                expected="counts of at least 1, rates and a neutral share between 0 and 1, a seed of at least 0",
                found=", ".join(f"{name} = {value}" for name, value in wrong.items()),
                fix="correct these arguments",
            )
        each = len(DIGITS)
        if self.adapters < 5 * each or self.adapters % each:
            raise LoraPerfError(
                expected=f"adapters in a multiple of {each}, at least {5 * each}, so that each digit has all three parts",
                found=f"adapters = {self.adapters}",
                fix=f"use {max(5, round(self.adapters / each)) * each}",
            )
        if self.out.suffix != ".safetensors":
            raise LoraPerfError(expected="a file *.safetensors to write", found=str(self.out), fix="give --out another ending")
        try:
            if self.out.is_dir():
                raise IsADirectoryError(0, "a folder of that name")
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.out.parent):
                pass
        except OSError as error:
            raise LoraPerfError(
                expected=f"a place that can be written for {self.out}", found=str(error.strerror), fix="choose another --out"
            ) from None


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits: pixels (count, PIXELS) from -1 to 1, labels (count,), and the pool (0/1/2) of each image."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    pools: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Label (n,), part of the split (n,) and images (n, images, as rows of `Digits`) of each adapter."""

    labels: NDArray[np.int64]
    split: NDArray[np.int64]
    images: NDArray[np.int64]


def read_digits(seed: int) -> Digits:
    """The images, those of each digit divided at random into three pools."""
    from sklearn.datasets import load_digits

    data, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    rng = np.random.default_rng([seed, _POOLS])
    pools = np.zeros(len(labels), np.int64)
    for digit in range(len(DIGITS)):
        own = rng.permutation(np.flatnonzero(labels == digit))
        pools[own] = parts(len(own))
    return Digits((data / 8 - 1).astype(np.float32), labels, pools)


def parts(count: int) -> NDArray[np.int64]:
    """`count` numbers 0/1/2 in the ratio of `SHARES`, in order; validation and test have at least one."""
    validation, test = (max(1, round(count * share)) for share in SHARES[1:])
    return np.repeat([0, 1, 2], [count - validation - test, validation, test]).astype(np.int64)


def draw_plan(config: Config, digits: Digits) -> Plan:
    """Which adapter learns what. The digits take turns, so that any run of rows is balanced."""
    n, classes = config.adapters, len(DIGITS)
    rng = np.random.default_rng([config.seed, _PLAN])
    labels = np.arange(n) % classes
    split = np.empty(n, np.int64)
    for digit in range(classes):
        split[digit::classes] = rng.permutation(parts(n // classes))
    pools = {
        (digit, part): np.flatnonzero((digits.labels == digit) & (digits.pools == part))
        for digit in range(classes)
        for part in range(len(SPLIT_NAMES))
    }
    smallest = min(len(pool) for pool in pools.values())
    if config.images > smallest:
        raise LoraPerfError(
            expected=f"at most {smallest} images an adapter, the smallest pool of a digit",
            found=f"images = {config.images}",
            fix="use fewer images",
        )
    images = [
        rng.choice(pools[digit, part], config.images, replace=False)
        for digit, part in zip(labels.tolist(), split.tolist(), strict=True)
    ]
    return Plan(labels, split, np.stack(images))


def layout(rank: int) -> Layout:
    """The layers of one adapter: down and up of each module, named as diffusers names them."""
    shapes = []
    for module in MODULES:
        k = TEXT_WIDTH if module.endswith("attn2.to_v") else WIDTH
        shapes += [(f"unet.{module}.lora.down.weight", (rank, k)), (f"unet.{module}.lora.up.weight", (WIDTH, rank))]
    return Layout(shapes)


def factors_of(rows: Tensor, rank: int) -> Factors:
    """The (down, up) of each module, as views of rows (n, p)."""
    layers = [rows[:, layer.columns].view(len(rows), *layer.shape) for layer in layout(rank)]
    return dict(zip(MODULES, zip(layers[::2], layers[1::2], strict=True), strict=True))


def initial_rows(config: Config, indices: Sequence[int]) -> Tensor:
    """Rows (n, p) to start from: B zero, A uniform within 1 / sqrt(k), as PEFT draws it."""
    layers = layout(config.rank)
    rows = np.zeros((len(indices), layers.p), np.float32)
    for row, index in zip(rows, indices, strict=True):
        rng = np.random.default_rng([config.seed, _SHARED] if config.shared_a else [config.seed, _TRAIN, index, 0])
        for layer in layers.group("down"):
            bound = layer.shape[1] ** -0.5
            row[layer.columns] = rng.uniform(-bound, bound, layer.size)
    return torch.from_numpy(rows)


def fine_tune(model: Denoiser, pixels: NDArray[np.float32], indices: Sequence[int], config: Config) -> tuple[Tensor, Tensor]:
    """Trains adapters at once: one Adam over the row matrix, whose gradients never mix rows.

    Shapes: pixels (n, images, PIXELS), indices (n) -> rows (n, p), losses (n, 2) before and after on noise not trained on.
    """
    words = torch.tensor(prompt(NEUTRAL)).expand(len(indices), 1, -1)
    rows = initial_rows(config, indices).requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=config.rate)
    streams = [np.random.default_rng([config.seed, _TRAIN, index, 1]) for index in indices]
    repeated = torch.from_numpy(pixels.repeat(config.draws, axis=1))
    before = _check_loss(model, pixels, indices, config, {})
    for _ in range(config.steps):
        noise, level = _noise(streams, repeated.shape[1])
        value = loss(model, repeated, noise, level, words, factors_of(rows, config.rank)).sum()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    rows = rows.detach()
    after = _check_loss(model, pixels, indices, config, factors_of(rows, config.rank))
    return rows, torch.stack([before, after], dim=1)


def _check_loss(
    model: Denoiser, pixels: NDArray[np.float32], indices: Sequence[int], config: Config, factors: Factors
) -> Tensor:
    """Loss (n,) of each adapter on its own images, under noise that is the same for all calls."""
    words = torch.tensor(prompt(NEUTRAL)).expand(len(indices), 1, -1)
    repeated = torch.from_numpy(pixels.repeat(_CHECK_DRAWS, axis=1))
    streams = [np.random.default_rng([config.seed, _CHECK, index]) for index in indices]
    with torch.no_grad():
        return loss(model, repeated, *_noise(streams, repeated.shape[1]), words, factors)


def _noise(streams: Sequence[np.random.Generator], b: int) -> tuple[Tensor, Tensor]:
    """Noise (n, b, PIXELS) and its levels (n, b), each adapter's from its own stream."""
    noise = np.stack([stream.standard_normal((b, PIXELS), np.float32) for stream in streams])
    level = np.stack([stream.random(b, np.float32) for stream in streams])
    return torch.from_numpy(noise), torch.from_numpy(level)
