"""Settings and makers that the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lora_perf.layout import Layout
from lora_perf.zoo import Zoo

# Shared machines pause for longer than any deadline for one example.
settings.register_profile("lora_perf", deadline=None)
settings.load_profile("lora_perf")

MakeZoo = Callable[..., Zoo]
# Two modules of rank 2: 2*3 + 4*2 + 2*5 + 1*2 = 26 parameters.
SHAPES = (
    ("unet.mid_block.attn1.to_q.lora.down.weight", (2, 3)),
    ("unet.mid_block.attn1.to_q.lora.up.weight", (4, 2)),
    ("unet.mid_block.attn2.to_v.lora.down.weight", (2, 5)),
    ("unet.mid_block.attn2.to_v.lora.up.weight", (1, 2)),
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Plain `pytest` calls each workload once; only a run that asks for benchmarks times them."""
    asked = [f"benchmark_{name}" for name in ("only", "enable", "autosave", "save", "compare", "json")]
    if not any(getattr(config.option, name, None) for name in asked):
        config.option.benchmark_disable = True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scale",
        choices=["small", "medium", "large"],
        default="small",
        help="scale of the workloads in tests/perf: small (64 adapters), medium (1,000) or large (10,000, streamed)",
    )


@pytest.fixture(scope="session")
def random_zoo() -> MakeZoo:
    """Makes zoos of normal entries in memory: n adapters of the given shapes, three classes."""

    def make(n: int = 7, shapes: Sequence[tuple[str, tuple[int, int]]] = SHAPES, *, seed: int = 0, split: bool = False) -> Zoo:
        generator = torch.Generator().manual_seed(seed)
        layout = Layout(shapes)
        rows = torch.randn(n, layout.p, generator=generator)
        labels = torch.randint(3, (n,), generator=generator)
        parts = torch.randint(3, (n,), generator=generator) if split else None
        return Zoo.from_rows(rows, layout, labels, ["bird", "cat", "dog"], split=parts)

    return make


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Runs a program in a Python of its own, warnings as errors, and returns what it printed."""

    def run(code: str, *arguments: str | Path) -> str:
        root = Path(__file__).parent.parent
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
