"""Whose adapters those of `digits-mixed` are, of which images, and how each is trained: creators have habits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.zoos.denoiser import DIGITS, PIXELS, SIDE
from lora_perf.zoos.training import Digits, layout

BASES = ("base-a", "base-b", "base-c")
RANKS = (1, 2, 4, 8)
IMAGES = (1, 2, 4, 8)
STEPS = (30, 60, 100)
RATES = (7e-3, 1e-2, 2e-2)
# How A starts and what becomes of it: its size beside that of PEFT, and whether it is trained.
ARMS = {"far": (1.0, True), "near": (6.0, True), "shared": (6.0, True), "frozen": (6.0, False)}
_ARM_SHARES = (0.25, 0.15, 0.45, 0.15)
_RANK_SHARES = (0.52, 0.27, 0.13, 0.08)
DRAWS = 8  # noisy images of an adapter in a step, whatever the number of its images
_MOVED = 0.3  # of the creators shift their images by a pixel
_OWN = 10  # images of each digit that a creator has
_MOSTLY = 0.75  # of its adapters follow a creator's habit
_POOLS = (0.35, 0.1)  # of the images of each digit: those of train and of validation creators
_PLAN, _START = 11, 12  # what a random stream is for


@dataclass(frozen=True)
class Adapter:
    """What one adapter is trained on, and how."""

    number: int
    creator: int
    part: int
    digit: int
    base: int
    arm: str
    rank: int
    images: tuple[int, ...]
    contrast: float
    shift: tuple[int, int]
    steps: int
    rate: float
    copy_of: int | None = None
    exact: bool = False

    @property
    def name(self) -> str:
        return f"creator-{self.creator:02d}/{DIGITS[self.digit]}-{self.number:04d}"


def plan(creators: Sequence[int], each: int, copies: int, digits: Digits, seed: int) -> list[Adapter]:
    """The adapters of the creators of each part, one creator after the other, and the copies among them."""
    rng = np.random.default_rng([seed, _PLAN])
    pools = {}
    for digit in range(len(DIGITS)):
        own = rng.permutation(np.flatnonzero(digits.labels == digit))
        ends = np.cumsum([round(share * len(own)) for share in _POOLS])
        for part, images in enumerate(np.split(own, ends)):
            pools[part, digit] = images
    made: list[Adapter] = []
    creator = 0
    for part, count in enumerate(creators):
        for _ in range(count):
            made += _of_creator(creator, part, len(made), each, pools, rng)
            creator += 1
    chosen = rng.choice(len(made), copies, replace=False).tolist()
    for place, number in enumerate(chosen):
        one = made[number]
        others = [each for each in made if each.rank == one.rank and each.number not in chosen]
        of = others[int(rng.integers(len(others)))]
        made[number] = replace(of, number=number, creator=one.creator, part=one.part, copy_of=of.number, exact=place % 2 == 0)
    return made


def _of_creator(
    creator: int, part: int, first: int, each: int, pools: dict[tuple[int, int], NDArray[np.int64]], rng: np.random.Generator
) -> list[Adapter]:
    base, arm = int(rng.integers(len(BASES))), str(rng.choice(list(ARMS), p=_ARM_SHARES))
    ranks = rng.choice(RANKS, 2, p=_RANK_SHARES).tolist()
    habits = [int(rng.choice(values)) for values in (IMAGES, STEPS)], float(rng.choice(RATES))
    contrast = float(rng.uniform(0.8, 1.0))
    shift = (int(rng.integers(-1, 2)), int(rng.integers(-1, 2))) if rng.random() < _MOVED else (0, 0)
    own = {digit: rng.choice(pools[part, digit], min(_OWN, len(pools[part, digit])), replace=False) for digit in range(10)}

    def mostly(habit: Any, values: Sequence[Any]) -> Any:
        return habit if rng.random() < _MOSTLY else values[int(rng.integers(len(values)))]

    made = []
    for place in range(each):
        digit = place % len(DIGITS)
        count = mostly(habits[0][0], IMAGES)
        images = tuple(rng.choice(own[digit], count, replace=False).tolist())
        steps, rate = mostly(habits[0][1], STEPS), mostly(habits[1], RATES)
        rank = ranks[int(rng.integers(2))]
        made.append(Adapter(first + place, creator, part, digit, base, arm, rank, images, contrast, shift, steps, rate))
    return made


def pixels_of(one: Adapter, digits: Digits) -> NDArray[np.float32]:
    """(DRAWS, PIXELS) the images of an adapter as its creator makes them, repeated to as many as a step has."""
    images = digits.pixels[list(one.images)].reshape(-1, SIDE, SIDE)
    moved = np.full_like(images, -1)
    down, right = one.shift
    rows, columns = (slice(max(0, by), SIDE + min(0, by)) for by in (down, right))
    from_rows, from_columns = (slice(max(0, -by), SIDE + min(0, -by)) for by in (down, right))
    moved[:, rows, columns] = images[:, from_rows, from_columns]
    shown = ((moved + 1) * one.contrast - 1).reshape(-1, PIXELS)
    return np.asarray(np.resize(shown, (DRAWS, PIXELS)), np.float32)


def start_of(one: Adapter, seed: int) -> NDArray[np.float32]:
    """(p) the row that an adapter starts from: B zero, A uniform; where A is shared it is that of all, whose first rows are
    those of smaller ranks.
    """
    scale, _ = ARMS[one.arm]
    rng = np.random.default_rng([seed, _START, 1 << 20 if one.arm == "shared" else one.number])
    layers = layout(one.rank)
    row = np.zeros(layers.p, np.float32)
    for layer in layers.group("down"):
        rank, k = layer.shape
        bound = scale * k**-0.5
        row[layer.columns] = rng.uniform(-bound, bound, (RANKS[-1], k))[:rank].ravel()
    return row
