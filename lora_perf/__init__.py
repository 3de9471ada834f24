"""Learning on LoRA weights at the speed of the machine.

    >>> import lora_perf
    >>> zoo = lora_perf.load("digits")
    >>> features = lora_perf.represent(zoo, ["stats", "spectral"])

Axes have one letter everywhere: n adapters, p parameters of one adapter, r rank, m rows of an up, k columns of a down,
f features, s runs, b rows of a batch or block, c classes.
"""

__version__ = "0.2.0"

from lora_perf.command.status import begin

begin()  # before torch is imported, which takes seconds

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lora_perf import zoos as zoos  # which names its zoos
from lora_perf.classifiers import CLASSIFIERS, classifier
from lora_perf.core import errors, layout, zoo
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io import load, pack, reader
from lora_perf.representations import REPRESENTATIONS, representation
from lora_perf.representations.streaming import represent

if TYPE_CHECKING:
    from lora_perf import audit as audit
    from lora_perf import diagnose as diagnose
    from lora_perf import experiment as experiment
    from lora_perf import inspect as inspect
    from lora_perf import profiling as profiling
    from lora_perf.report.results import Results as Results

__all__ = [
    "CLASSIFIERS",
    "REPRESENTATIONS",
    "LoraPerfError",
    "Results",
    "Zoo",
    "audit",
    "classifier",
    "diagnose",
    "experiment",
    "inspect",
    "load",
    "pack",
    "profiling",
    "reader",
    "represent",
    "representation",
]

# Where these stood before there were rooms: scripts of users, and zoos that they pickled from memory, name them so.
for _module in (errors, layout, zoo):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module


def __getattr__(name: str) -> Any:
    """What is imported when it is first used: the experiment, its results, the studies and traces."""
    if name in ("audit", "diagnose", "experiment", "inspect", "profiling"):
        return import_module(f"{__name__}.{name}")
    if name == "Results":
        return import_module(f"{__name__}.report.results").Results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
