"""Settings and makers that the tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

# The package is imported where it is used: the guard runs tests/perf over older ones, which have other parts.
if TYPE_CHECKING:
    from lora_perf.core.zoo import Zoo

collect_ignore_glob = ["pairs/suites/*"]  # projects of others, whose tests are run by ours

# Shared machines pause for longer than any deadline for one example.
settings.register_profile("lora_perf", deadline=None)
settings.load_profile("lora_perf")

# What a shell or a CI sets for its own ends: how wide and how coloured text is, where caches are and whether there is a
# network. Tests, and the programs that they start, say themselves what they need.
_FOREIGN = (
    *(
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "PY_COLORS",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
    ),
    *("MPLBACKEND", "MATPLOTLIBRC", "PYTHONWARNINGS", "PYTHONUTF8", "PYTHONIOENCODING"),
)
for _name in [name for name in os.environ if name in _FOREIGN or name.startswith("HF_")]:
    del os.environ[_name]
os.environ["HF_HUB_OFFLINE"] = "1"

# A shell that starts a program in the background has it ignore Ctrl-C, and so all programs that this one starts. Theirs to
# test is what Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakeZoo = Callable[..., "Zoo"]
# Two modules of rank 2: 2*3 + 4*2 + 2*5 + 1*2 = 26 parameters.
SHAPES = (
    ("unet.mid_block.attn1.to_q.lora.down.weight", (2, 3)),
    ("unet.mid_block.attn1.to_q.lora.up.weight", (4, 2)),
    ("unet.mid_block.attn2.to_v.lora.down.weight", (2, 5)),
    ("unet.mid_block.attn2.to_v.lora.up.weight", (1, 2)),
)

WORKERS = 2  # more gain little: the two longest files take half of the time


def _asks_for_benchmarks(config: pytest.Config) -> bool:
    asked = ("only", "enable", "autosave", "save", "compare", "json")
    return any(getattr(config.option, f"benchmark_{name}", None) for name in asked)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite is divided among workers, file by file; a part of it, benchmarks and a debugger have one process.

    `-n` says otherwise, and without pytest-xdist (`-p no:xdist`) there is nothing to say. All benchmarks are in one folder:
    where only they are asked for, the thousands of other tests are not collected to be skipped.
    """
    option = config.option
    if hasattr(config, "workerinput"):  # xdist asks its workers too: each would start workers of its own, without end
        return
    here = Path(__file__).parent
    whole = {Path(argument).resolve() for argument in config.args} <= {here, here.parent}
    if whole and getattr(option, "benchmark_only", False):
        config.args[:] = [str(here / "perf" / "test_workloads.py")]
    if getattr(option, "numprocesses", 0) is not None:  # given, or no such plugin
        return
    if whole and not (_asks_for_benchmarks(config) or option.usepdb or option.collectonly):
        option.numprocesses, option.dist = WORKERS, "loadfile"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Plain `pytest` times nothing; a run that asks for benchmarks shows few columns, and can draw what it is asked to draw."""
    option = config.option
    if not _asks_for_benchmarks(config):
        option.benchmark_disable = True
    if getattr(option, "benchmark_histogram", None) and find_spec("pygal") is None:
        raise pytest.UsageError("--benchmark-histogram needs pygal: pip install 'pytest-benchmark[histogram]'")
    if getattr(option, "benchmark_columns", 0) is None:
        option.benchmark_columns = ["median", "rounds"]
    if not any(argument.startswith("--benchmark-sort") for argument in config.invocation_params.args):
        option.benchmark_sort = "median"  # the column that is shown; by the least time would be another order


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
    from lora_perf.core.layout import Layout
    from lora_perf.core.zoo import Zoo

    def make(n: int = 7, shapes: Sequence[tuple[str, tuple[int, int]]] = SHAPES, *, seed: int = 0, split: bool = False) -> Zoo:
        generator = torch.Generator().manual_seed(seed)
        layout = Layout(shapes)
        rows = torch.randn(n, layout.p, generator=generator)
        labels = torch.randint(3, (n,), generator=generator)
        parts = torch.randint(3, (n,), generator=generator) if split else None
        return Zoo.from_rows(rows, layout, labels, ["bird", "cat", "dog"], split=parts)

    return make


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Representations, classifiers and readers that a test enters are gone after it."""
    from lora_perf.classifiers import CLASSIFIERS
    from lora_perf.io.readers import READERS
    from lora_perf.representations import REPRESENTATIONS

    for registry in (REPRESENTATIONS, CLASSIFIERS, READERS):
        for table in ("_parts", "_owners"):
            monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


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
