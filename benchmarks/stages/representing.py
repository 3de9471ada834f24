"""Representations: each of the ten, and all of them in one pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

import lora_perf
from benchmarks import baselines, corpora
from benchmarks.table import Baseline, Case, workload

TEN = (
    "simple_stats",
    "stats",
    "rank_based",
    "spectral",
    "matrix_norms",
    "distribution",
    "frequency",
    "info_theoretic",
    "flat_vec",
    "ensemble",
)
# Features are float32, their sums pieces of float32: eight digits lose one to rounding and one to addition.
_TOLERANCE = 1e-5


@cache
def zoo_in_memory(adapters: int) -> lora_perf.Zoo:
    """The corpus of some size with its rows in memory, so that no workload here reads a file."""
    stored = lora_perf.load(corpora.path("nested", adapters))
    return lora_perf.Zoo.from_rows(stored.rows, stored.layout, stored.labels, stored.classes)


def _few(adapters: int) -> torch.Tensor:
    """The adapters that the loops represent, from both ends of the zoo; their share scales the loops' time."""
    return torch.tensor([0, adapters - 1])


@cache
def _by_loop(adapters: int) -> dict[str, torch.Tensor]:
    """What the loops make of a few adapters."""
    return baselines.represent_by_loop(_some(zoo_in_memory(adapters), _few(adapters)), TEN)


@cache
def _by_pass(adapters: int) -> dict[str, Any]:
    """What the pass makes of the same ones."""
    return lora_perf.represent(_some(zoo_in_memory(adapters), _few(adapters)), TEN)


@cache
def _reversed(adapters: int) -> dict[str, torch.Tensor]:
    """What the pass makes of all adapters in reversed order, so that each is in another place of another block."""
    zoo = zoo_in_memory(adapters)
    found = lora_perf.represent(_some(zoo, torch.arange(adapters).flip(0)), [name for name in TEN if name != "flat_vec"])
    return {name: one.values.flip(0) for name, one in found.items()}


def _some(zoo: lora_perf.Zoo, rows: torch.Tensor) -> lora_perf.Zoo:
    return lora_perf.Zoo.from_rows(zoo.rows[rows], zoo.layout, corpora.labels_of(zoo)[rows], zoo.classes)


def _assert_close(found: torch.Tensor, expected: torch.Tensor, one: Any, name: str) -> None:
    """Features equal up to `_TOLERANCE`, of themselves and of the mean size of that feature over adapters and layers."""
    assert found.shape == expected.shape, f"{name}: {tuple(found.shape)} instead of {tuple(expected.shape)}"
    if name == "flat_vec":
        assert torch.equal(found, expected), "flat_vec: other entries"
        return
    kinds = np.array([column.rpartition("/")[2] for column in one.names])
    _, kind = np.unique(kinds, return_inverse=True)
    sizes = expected.abs().double().mean(dim=0).numpy()
    bound = _TOLERANCE * (np.bincount(kind, sizes) / np.bincount(kind))[kind]
    off = np.abs(found.double().numpy() - expected.double().numpy())
    wrong = ~(off <= bound + _TOLERANCE * np.abs(expected.double().numpy()))  # a nan is wrong
    if wrong.any():
        row, column = (int(place[0]) for place in np.nonzero(wrong))
        raise AssertionError(
            f"{name}: {wrong.sum()} features are wrong, the first of adapter {row}, {one.names[column]}: "
            f"{found[row, column]} instead of {expected[row, column]}"
        )


def _case(names: tuple[str, ...], scale: str) -> Case:
    zoo = zoo_in_memory(corpora.SCALES[scale])
    few = _few(len(zoo))
    part = _some(zoo, few)

    def check(found: dict[str, Any]) -> None:
        """A few adapters against the loop, and all against the pass in another order."""
        assert list(found) == list(names)
        for name, one in found.items():
            everywhere = zoo.rows if name == "flat_vec" else _reversed(len(zoo))[name]
            _assert_close(one.values, everywhere, one, name)
            _assert_close(one.values[few], _by_loop(len(zoo))[name], one, name)

    def check_loop(found: dict[str, torch.Tensor]) -> None:
        assert list(found) == list(names)
        for name in names:
            one = _by_pass(len(zoo))[name]
            _assert_close(found[name], one.values, one, name)

    return Case(
        call=lambda: lora_perf.represent(zoo, names),
        check=check,
        nbytes=zoo.nbytes,
        baselines={"NumPy-loop": Baseline(lambda: baselines.represent_by_loop(part, names), check_loop, len(part) / len(zoo))},
        limit=lambda: baselines.copy_fresh(zoo.rows.numpy()),
        layers=len(zoo.layout),
        adapters=len(zoo),
    )


def _prepare(about: str, *names: str) -> Callable[[str], Case]:
    def prepare(scale: str) -> Case:
        return _case(names, scale)

    prepare.__doc__ = about
    return prepare


for _name in TEN:
    workload("representing", "small", "medium", baselines=("NumPy-loop",), limit=True, name=f"represent_{_name}")(
        _prepare(f"The representation {_name} of rows in memory.", _name)
    )
workload("representing", "small", "medium", baselines=("NumPy-loop",), limit=True, name="represent_all")(
    _prepare("All ten representations of rows in memory, in one pass.", *TEN)
)
