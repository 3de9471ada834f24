"""The workloads of the table as pairs: how the worker of each side is started, and what it has to measure."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import corpora
from benchmarks.guard.packages import PACKAGE
from lora_perf import LoraPerfError
from lora_perf.pairs.compare import Bench
from lora_perf.pairs.workers import Pair, Side, Worker, WorkerError


def side_of(folder: Path, root: Path = corpora.ROOT) -> Side:
    """A worker over the package in a folder.

    Args:
        folder: holds `lora_perf` and no `benchmarks`.
        root: holds `benchmarks`; what else it holds comes after `folder`.
    """
    environment = {"PYTHONPATH": os.pathsep.join([str(folder), str(root)]), "HF_HUB_OFFLINE": "1"}
    environment["LORA_PERF_CORPORA"] = str(corpora.folder().absolute())
    words = (sys.executable, "-P", "-m", "benchmarks.guard.worker", "{requests}", "{answers}")
    return Side(words, folder, environment)


class Workloads(Pair):
    """Two fresh workers that hold the workloads of the table at a scale.

    Raises:
        LoraPerfError: a package cannot be imported at all.
    """

    def __init__(self, base: Path, change: Path, scale: str, root: Path = corpora.ROOT) -> None:
        self._scale = scale
        super().__init__(side_of(base, root), side_of(change, root), _meet)

    def ask_to_prepare(self, side: Worker, name: str) -> None:
        side.send("prepare", workload=name, scale=self._scale)

    def count(self) -> list[dict[str, Any]]:
        """Where the counts of the prepared workload break its budget, on the side of the change."""
        found: list[dict[str, Any]] = self.change.ask("count")["violations"]
        return found


def bench_of(base: Path, change: Path, scale: str, root: Path = corpora.ROOT) -> Bench[Workloads]:
    """The workloads over two packages."""
    return Bench(lambda: Workloads(base, change, scale, root))


def _meet(worker: Worker, side: str) -> None:
    """Takes the first answer of a worker, which tells that it measures the package that it should."""
    try:
        found = worker.receive()
    except WorkerError as error:
        raise LoraPerfError(
            expected=f"a lora_perf of the {side} that can be imported",
            found=str(error),
            fix="correct it, or choose another --base",
        ) from error
    package = Path(found["package"]).resolve().parent
    assert package == (worker.side.folder / PACKAGE).resolve(), f"{package} is measured instead of {worker.side.folder}"
