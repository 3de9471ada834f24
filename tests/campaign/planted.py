"""Faults planted in the program, by name: the campaign is worth nothing if it does not find them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.torch import load_file

from lora_perf.core.features import Features
from lora_perf.io import atomic, headers
from lora_perf.io.files import adapter, classes
from lora_perf.representations import REPRESENTATIONS, cache
from tests.campaign.outcomes import Outcome


@dataclass(frozen=True)
class Planted:
    """A fault, and the trials that find it.

    Attributes:
        plant: puts it into this process.
        part, count: the trials, numbered from 0.
        outcomes: one of which some of them show.
    """

    plant: Callable[[], None]
    part: str
    count: int
    outcomes: tuple[Outcome, ...]


FAULTS: dict[str, Planted] = {}


def _fault(part: str, count: int, *outcomes: Outcome) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def enter(plant: Callable[[], None]) -> Callable[[], None]:
        FAULTS[plant.__name__] = Planted(plant, part, count, outcomes)
        return plant

    return enter


def replace_everywhere(original: Any, other: Any) -> None:
    """Puts another function in the place of one, wherever a module of the package has it."""
    count = 0
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "lora_perf":
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, other)
                    count += 1
    if not count:
        raise RuntimeError(f"{original} is nowhere: the planted fault would be none")


@_fault("kill", 96, Outcome.DIFFERENT, Outcome.STUCK)
def files_written_in_place() -> None:
    """A process that is ended leaves half a file under the name of a whole one."""

    @contextmanager
    def replacing(path: Path) -> Iterator[BinaryIO]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w+b") as file:
            yield file

    replace_everywhere(atomic.replacing, replacing)


@_fault("kill", 64, Outcome.LEFT)
def temporary_files_left() -> None:
    """A process that is ended leaves a temporary file, which nobody removes."""

    @contextmanager
    def replacing(path: Path) -> Iterator[BinaryIO]:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid():08}.part")
        with open(part, "w+b") as file:
            yield file
        part.replace(path)

    replace_everywhere(atomic.replacing, replacing)


@_fault("cache", 96, Outcome.DIFFERENT)
def caches_taken_as_they_are() -> None:
    """A changed value of a cached feature is taken for a computed one."""

    def load(self: cache.FeatureCache, zoo: Any, name: str, layers: Any, device: Any) -> Features | None:
        one = REPRESENTATIONS[name]
        path, _ = self.place(zoo, one, layers, device)
        try:
            values = load_file(path)["values"]
            return Features(values, zoo.layout, one.describe(zoo.layout, layers, values.shape[1]) or ())
        except Exception:  # as before: a damaged file counts as none
            return None

    cache.FeatureCache.load = load  # type: ignore[method-assign] # the fault


@_fault("mutant", 96, Outcome.TRACEBACK)
def traceback_for_a_bad_file() -> None:
    """A damaged file ends in a traceback."""

    def bad_file(path: Any, found: str) -> Exception:
        return ValueError(found)

    replace_everywhere(headers.bad_file, bad_file)


@_fault("mutant", 96, Outcome.DIFFERENT)
def scales_not_read() -> None:
    """What a file says of its scale is ignored."""
    original = adapter.read_scales

    def read_scales(*arguments: Any) -> Any:
        return np.ones_like(original(*arguments))

    replace_everywhere(original, read_scales)


@_fault("mutant", 96, Outcome.DIFFERENT)
def a_row_lost() -> None:
    """The last adapter of a folder is dropped without a word."""
    original = classes.members

    def members(*arguments: Any) -> Any:
        return original(*arguments)[:-1]

    replace_everywhere(original, members)


@_fault("mutant", 48, Outcome.HANG)
def a_bad_file_waited_for() -> None:
    """A damaged file makes the program wait."""
    original = headers.bad_file

    def bad_file(*arguments: Any) -> Any:
        time.sleep(3600)
        return original(*arguments)

    replace_everywhere(original, bad_file)
