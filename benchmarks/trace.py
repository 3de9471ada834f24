"""A trace of one workload: `python -m benchmarks.trace WORKLOAD`.

Writes what `lora_perf.profiling.trace` writes of one call: a page, and a file for Perfetto and for TensorBoard's PyTorch plugin
(`pip install -e '.[profile]'`, then `tensorboard --logdir traces`); prints its tables.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.surface import exit_status, listed
from benchmarks.workloads import TABLE
from lora_perf import LoraPerfError, profiling


@dataclass(frozen=True)
class TraceConfig:
    """Traces one call of a workload."""

    workload: Annotated[str, tyro.conf.Positional]
    """Name in the table."""
    scale: str = "small"
    """small, medium or large, where the workload has it."""
    output_dir: Path = Path("traces")
    """Folder of the traces."""
    memory: Literal["process", "operators"] = "process"
    """process: over time, whatever takes it; operators: each allocation of tensors too, of the calling thread alone."""
    python: Literal["sampled", "calls"] = "sampled"
    """calls: each call of a Python function, which slows the workload where they are many."""


def trace(config: TraceConfig) -> profiling.Trace:
    """Traces one call, after one call to warm up.

    Raises:
        LoraPerfError: an unknown workload or scale.
    """
    if config.workload not in TABLE:
        raise LoraPerfError(
            expected=f"a workload ({listed(TABLE, 60)})", found=repr(config.workload), fix="choose one of these"
        )
    one = TABLE[config.workload]
    if config.scale not in one.scales:
        raise LoraPerfError(
            expected=f"a scale of {one.name} ({listed(one.scales)})", found=repr(config.scale), fix="choose one of these"
        )
    case = one.prepare(config.scale)
    case.checked()
    if case.before is not None:
        case.before()
    folder = config.output_dir / one.name
    with profiling.trace(folder, config.scale, seconds=inf, memory=config.memory, python=config.python) as found:
        case.call()
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""

    def work() -> int:
        config = tyro.cli(TraceConfig, args=arguments, prog="python -m benchmarks.trace")
        print(trace(config))
        print(f"page and trace in {config.output_dir / config.workload}: tensorboard --logdir {config.output_dir}")
        return 0

    return int(exit_status(work))


if __name__ == "__main__":
    sys.exit(main())
