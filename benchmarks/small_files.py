"""`python -m benchmarks.small_files`: many small adapter files read in every way, cold and warm, as shares of disk and memory.

A thousand files of 400 kB are what a folder of adapters is. Cold: their pages are dropped from the page cache before each call
(POSIX_FADV_DONTNEED), so that the disk is read. Ways are taken in turn, and the median of the rounds is told.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import tyro
from safetensors import safe_open

import lora_perf
from benchmarks import corpora, surface


@dataclass(frozen=True)
class SmallFilesConfig:
    """Times every way to read a folder of adapter files, and prints a table in Markdown."""

    adapters: int = 1000
    """How many files, 400 kB each."""
    rounds: int = 5
    """Of all ways in turn, cold and warm."""


def ways(paths: Sequence[Path], folder: Path, one: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, by what a reader of the table calls it."""
    found: dict[str, Callable[[], Any]] = {
        "one file of the same bytes, read once": lambda: _whole(one),
        "`open().read()` of each file": lambda: [path.read_bytes() for path in paths],
        "`safetensors.torch.load_file`": lambda: [safetensors.torch.load_file(path) for path in paths],
        "`safe_open`, tensor by tensor": lambda: [_tensor_by_tensor(path) for path in paths],
        "`safetensors.torch.load` of its bytes": lambda: [safetensors.torch.load(path.read_bytes()) for path in paths],
        "`lora_perf.load(folder).rows`": lambda: lora_perf.load(folder).rows,
        "`lora_perf.load(folder).blocks()`": lambda: [None for _ in lora_perf.load(folder).blocks()],
    }
    if (fast := _fastsafetensors(paths)) is not None:
        found["`fastsafetensors`, on the CPU"] = fast
    return found


def _whole(path: Path) -> int:
    buffer = np.empty(path.stat().st_size, np.uint8)
    with path.open("rb", buffering=0) as file:
        return file.readinto(buffer.data) or 0


def _tensor_by_tensor(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping


def _fastsafetensors(paths: Sequence[Path]) -> Callable[[], Any] | None:
    try:
        from fastsafetensors import SafeTensorsFileLoader, SingleGroup
    except ImportError:
        return None

    def read() -> list[torch.Tensor]:
        tensors = []
        for path in paths:
            loader = SafeTensorsFileLoader(SingleGroup(), torch.device("cpu"), nogds=True)
            loader.add_filenames({0: [str(path)]})
            files = loader.copy_files_to_device()
            tensors += [files.get_tensor(name).clone() for name in files.key_to_rank_lidx]
            files.close()
            loader.close()
        return tensors

    return read


def measured(config: SmallFilesConfig) -> tuple[dict[str, dict[str, list[float]]], int]:
    """Seconds by way and state (cold, warm), and the bytes of all files."""
    folder = corpora.path("folder", config.adapters)
    paths = sorted(folder.rglob("*.safetensors"))
    nbytes = sum(path.stat().st_size for path in paths)
    one = corpora.scratch() / "small-files-one"
    with one.open("wb") as file:
        for path in paths:
            file.write(path.read_bytes())
    memory = np.ones(nbytes, np.uint8)
    taken = ways(paths, folder, one) | {"a copy into fresh memory": memory.copy}
    seconds: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": []} for name in taken}
    for _ in range(config.rounds):
        for name, call in taken.items():
            for state in ("cold", "warm"):
                if state == "cold":
                    for path in (*paths, one):
                        corpora.evict(path)
                begin = time.perf_counter()
                call()
                seconds[name][state].append(time.perf_counter() - begin)
    one.unlink()
    return seconds, nbytes


def main(config: SmallFilesConfig) -> None:
    seconds, nbytes = measured(config)
    disk = nbytes / statistics.median(seconds["one file of the same bytes, read once"]["cold"])
    copy = nbytes / statistics.median(seconds["a copy into fresh memory"]["warm"])
    told = f"{config.adapters:,} files, {nbytes / 1e6:.0f} MB; disk {disk / 1e9:.2f} GB/s, a copy {copy / 1e9:.2f} GB/s"
    machine = surface.machine(torch.device("cpu"))
    where = f"{machine['processor']}, {machine['cores']} cores, torch on {machine['torch_threads']} threads"
    print(f"{where}: {told}; medians of {config.rounds} rounds [lowest, highest].\n")
    print("| way | cold, s | of the disk's speed | warm, s | of a copy's speed |\n| --- | ---: | ---: | ---: | ---: |")
    del seconds["a copy into fresh memory"]
    for name, states in sorted(seconds.items(), key=lambda pair: statistics.median(pair[1]["cold"])):
        cells = []
        for state, limit in (("cold", disk), ("warm", copy)):
            median = statistics.median(states[state])
            cells += [f"{median:.3f} [{min(states[state]):.3f}, {max(states[state]):.3f}]", f"{nbytes / median / limit:.0%}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(tyro.cli(SmallFilesConfig, description=__doc__))
