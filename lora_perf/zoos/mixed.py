"""The zoo `digits-mixed`: adapters of several base models, ranks, recipes and creators, as collections of people hold them.

    python -m lora_perf.zoos.mixed --out digits-mixed.safetensors

A creator has images, a contrast and habits of its own: one base model, one way to start A, two ranks, and mostly one number
of images, of steps, and one learning rate. No creator stands in two parts of the split, and no image does. Some adapters are
copies of others, exact or nearly, and say so.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.zoos.creators import ARMS, BASES, DRAWS, RANKS, Adapter, pixels_of, plan, start_of
from lora_perf.zoos.denoiser import DIGITS, NEUTRAL, PIXELS, Denoiser, loss, pretrain, prompt
from lora_perf.zoos.halves import write_halves
from lora_perf.zoos.training import MODULES, Digits, factors_of, layout, read_digits
from lora_perf.zoos.training import Config as Recipe

NAME = "digits-mixed"
_BETAS, _EPS = (0.9, 0.999), 1e-8  # of Adam
_TRAIN, _COPY = 13, 14  # what a random stream is for, beside those of the plan
_BATCH = 150


@dataclass(frozen=True)
class Config:
    """How `digits-mixed` is made; the embedded one was made with the defaults."""

    out: Path
    """The file to write, *.safetensors; its card (*.json) is written beside it."""
    creators: tuple[int, int, int] = (26, 6, 50)
    """Creators of the train, validation and test part."""
    each: int = 20
    """Adapters of a creator, two of each digit."""
    copies: int = 24
    """Adapters that are copies of others, half of them exact, half nearly."""
    base_steps: int = 1500
    """Training steps of the first base model."""
    further_steps: int = 150
    """Further training steps of each of the others, which go on from the first as checkpoints of a community do."""
    seed: int = 1
    """Seed of everything random."""

    @property
    def card(self) -> Path:
        return self.out.with_suffix(".json")


def fine_tuned(model: Denoiser, some: Sequence[Adapter], digits: Digits, seed: int) -> tuple[Tensor, Tensor]:
    """Rows (n, p) of adapters of one base and rank, trained at once, and those (n, p) that they started from.

    Adam with a rate for each row; a row stays as it is after its last step. Gradients never mix rows, and each adapter has a
    random stream of its own, so its weights do not depend on those beside it.
    """
    rank = some[0].rank
    start = torch.from_numpy(np.stack([start_of(one, seed) for one in some]))
    rows = start.clone().requires_grad_()
    pixels = torch.from_numpy(np.stack([pixels_of(one, digits) for one in some]))
    words = torch.tensor(prompt(NEUTRAL)).expand(len(some), 1, -1)
    streams = [np.random.default_rng([seed, _TRAIN, one.number]) for one in some]
    trained = torch.ones(len(some), rows.shape[1])
    down = torch.cat([torch.arange(layer.columns.start, layer.columns.stop) for layer in layout(rank).group("down")])
    for place, one in enumerate(some):
        if not ARMS[one.arm][1]:
            trained[place, down] = 0
    steps = torch.tensor([one.steps for one in some])
    rates = torch.tensor([one.rate for one in some])[:, None]
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, int(steps.max()) + 1):
        noise = torch.from_numpy(np.stack([stream.standard_normal((DRAWS, PIXELS), np.float32) for stream in streams]))
        level = torch.from_numpy(np.stack([stream.random(DRAWS, np.float32) for stream in streams]))
        value = loss(model, pixels, noise, level, words, factors_of(rows, rank)).sum()
        (gradient,) = torch.autograd.grad(value, rows)
        with torch.no_grad():
            gradient *= trained * (step <= steps)[:, None]
            first.lerp_(gradient, 1 - _BETAS[0])
            second.lerp_(gradient.square(), 1 - _BETAS[1])
            direction = first / (1 - _BETAS[0] ** step) / ((second / (1 - _BETAS[1] ** step)).sqrt() + _EPS)
            rows -= rates * direction * (step <= steps)[:, None]
    return rows.detach(), start


def near_copy(row: NDArray[np.float32], rank: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The same updates but for a thousandth, by other factors: (B G, G^-1 A) with a random G near the identity."""
    found = row.copy()
    layers = layout(rank)
    for module in layers.modules:
        turn = np.eye(rank) + 0.3 * rng.standard_normal((rank, rank)) / rank
        down = found[module.down.columns].reshape(module.down.shape)
        up = found[module.up.columns].reshape(module.up.shape)
        found[module.down.columns] = (np.linalg.inv(turn) @ down).ravel()
        found[module.up.columns] = ((up @ turn) * (1 + 1e-3 * rng.standard_normal(up.shape))).ravel()
    return found


def make(config: Config, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Trains base models and adapters, writes zoo and card, and returns the card."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums have one order then
    try:
        return _make(config, say)
    finally:
        torch.set_num_threads(threads)


def bases(config: Config, digits: Digits, say: Callable[[str], None]) -> list[Denoiser]:
    """The base models: one, and two that were trained further from it."""
    recipe = Recipe(config.out)
    share = recipe.neutral_share
    settings = {"batch": recipe.base_batch, "neutral_share": share, "say": say}
    first = pretrain(
        digits.pixels,
        digits.labels,
        steps=config.base_steps,
        rate=recipe.base_rate,
        seed=config.seed,
        **settings,  # type: ignore[arg-type]
    )
    others = [
        pretrain(
            digits.pixels, digits.labels, steps=config.further_steps, rate=recipe.base_rate / 4, seed=config.seed + k,
            start=first, **settings,  # type: ignore[arg-type]
        )
        for k in range(1, len(BASES))
    ]  # fmt: skip
    return [first, *others]


def _make(config: Config, say: Callable[[str], None]) -> dict[str, Any]:
    begin = time.perf_counter()
    digits = read_digits(config.seed)
    adapters = plan(config.creators, config.each, config.copies, digits, config.seed)
    models = bases(config, digits, say)
    rows: dict[int, NDArray[np.float32]] = {}
    cosines: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for base, rank in ((base, rank) for base in range(len(BASES)) for rank in RANKS):
        chosen = [one for one in adapters if (one.base, one.rank) == (base, rank) and one.copy_of is None]
        for at in range(0, len(chosen), _BATCH):
            some = chosen[at : at + _BATCH]
            found, start = fine_tuned(models[base], some, digits, config.seed)
            for one, row, before in zip(some, found.numpy(), start.numpy(), strict=True):
                rows[one.number] = row
                cosines[one.arm].append(_cosine_of_downs(row, before, rank))
        say(f"{BASES[base]}, rank {rank}: {len(chosen)} adapters, {time.perf_counter() - begin:.0f} s")
    for one in adapters:
        if one.copy_of is not None:
            row = rows[one.copy_of]
            rng = np.random.default_rng([config.seed, _COPY, one.number])
            rows[one.number] = row.copy() if one.exact else near_copy(row, one.rank, rng)
    card = _card(config, adapters, cosines)
    ranks = [one.rank for one in adapters]
    write_halves(config.out, [rows[one.number] for one in adapters], ranks, told_of(adapters), NAME)
    card |= {"nbytes": config.out.stat().st_size, "seconds": round(time.perf_counter() - begin)}
    config.card.write_text(json.dumps(card, indent=2) + "\n")
    say(f"wrote {config.out} ({len(adapters):,} adapters) and {config.card}")
    return card


def told_of(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """Labels, split, names and metadata of the zoo."""
    names = [one.name for one in adapters]
    metadata = {
        "creator": [f"creator-{one.creator:02d}" for one in adapters],
        "base": [BASES[one.base] for one in adapters],
        "start": [one.arm for one in adapters],
        "rank": [one.rank for one in adapters],
        "num_images": [len(one.images) for one in adapters],
        "steps": [one.steps for one in adapters],
        "learning_rate": [one.rate for one in adapters],
        "copy_of": [None if one.copy_of is None else names[one.copy_of] for one in adapters],
    }
    return {
        "labels": [one.digit for one in adapters],
        "classes": list(DIGITS),
        "split": [one.part for one in adapters],
        "names": names,
        "metadata": metadata,
    }


def _cosine_of_downs(row: NDArray[np.float32], start: NDArray[np.float32], rank: int) -> float:
    places = np.concatenate([np.arange(one.columns.start, one.columns.stop) for one in layout(rank).group("down")])
    one, two = row[places].astype(np.float64), start[places].astype(np.float64)
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))


def _card(config: Config, adapters: Sequence[Adapter], cosines: dict[str, list[float]]) -> dict[str, Any]:
    """What a reader must know to judge the zoo, or to make it again."""
    parts = np.bincount([one.part for one in adapters], minlength=3).tolist()
    return {
        "name": NAME,
        "made_by": f"python -m lora_perf.zoos.mixed --out {config.out.name}",
        "how": (
            "A denoiser as that of digits, and two that were trained further from it. A creator has images of its own (10 of "
            "each digit, from a pool that no other part of the split uses), a contrast, three in ten a shift by a pixel, one "
            "base, one way to start A, two ranks, and "
            "three quarters of its adapters have its usual number of images, of steps, and its learning rate. A starts uniform "
            "within 1/sqrt(k), its own and trained (far), or within 6/sqrt(k): its own and trained (near), one for all "
            "and trained (shared), its own and not trained (frozen). B starts at zero. Adam, 8 noisy images a "
            "step, the prompt 'a photo of something'. Weights are stored in 16 bits."
        ),
        "n": len(adapters),
        "modules": len(MODULES),
        "adapters": dict(zip(("train", "validation", "test"), parts, strict=True)),
        "creators": dict(zip(("train", "validation", "test"), config.creators, strict=True)),
        "ranks": {str(rank): sum(one.rank == rank for one in adapters) for rank in RANKS},
        "starts": {arm: sum(one.arm == arm for one in adapters) for arm in ARMS},
        "copies": {
            kind: sum(one.copy_of is not None and one.exact is exact for one in adapters)
            for kind, exact in (("exact", True), ("near", False))
        },
        "cosine of A to its start, median": {
            arm: round(float(np.median(values)), 3) for arm, values in cosines.items() if values
        },
        "config": {
            "creators": list(config.creators),
            "each": config.each,
            "base_steps": config.base_steps,
            "seed": config.seed,
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""

    def work() -> int:
        config = parsed(Config, arguments, "python -m lora_perf.zoos.mixed")
        make(config, lambda line: print(line, file=sys.stderr, flush=True))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
