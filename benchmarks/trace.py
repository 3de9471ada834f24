"""A profiler trace of one workload: `python -m benchmarks.trace WORKLOAD`.

Writes a `torch.profiler` trace that TensorBoard's PyTorch profiler plugin opens (`pip install -e '.[profile]'`, then
`tensorboard --logdir traces`), and prints the heaviest operators.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from benchmarks.surface import exit_status, listed
from benchmarks.workloads import TABLE
from lora_perf import LoraPerfError

_OPERATORS = 10


@dataclass(frozen=True)
class TraceConfig:
    """Traces one call of a workload."""

    workload: Annotated[str, tyro.conf.Positional]
    """Name in the table."""
    scale: str = "small"
    """small, medium or large, where the workload has it."""
    output_dir: Path = Path("traces")
    """Folder of the traces."""


def trace(config: TraceConfig) -> str:
    """Writes the trace of one call, after one call to warm up; returns the table of the heaviest operators.

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
    handler = tensorboard_trace_handler(str(config.output_dir / one.name), worker_name=config.scale)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(
        activities=activities,
        record_shapes=True,
        profile_memory=True,
        on_trace_ready=handler,
        # Blocks and runs are worked on by threads of their own; without this only the calling one is seen.
        experimental_config=_ExperimentalConfig(profile_all_threads=True),
    ) as record:
        case.call()
    return str(record.key_averages().table(sort_by="self_cpu_time_total", row_limit=_OPERATORS, max_name_column_width=40))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""

    def work() -> int:
        config = tyro.cli(TraceConfig, args=arguments, prog="python -m benchmarks.trace")
        print(trace(config))
        print(f"trace in {config.output_dir / config.workload}: tensorboard --logdir {config.output_dir}")
        return 0

    return int(exit_status(work))


if __name__ == "__main__":
    sys.exit(main())
