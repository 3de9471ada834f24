"""Representations: adapters -> features.

Each is a function of one matrix (layer) or of one update dW = s B A (module), computed for a batch of them at once, and
stands in one dict under the name that serves everywhere: as function, registry key, CLI value, report row and benchmark name.
"""

from lora_perf.representations.factors import frequency, information, norms, spectral, statistics  # noqa: F401 - fill the
from lora_perf.representations.factors.matrices import Matrices
from lora_perf.representations.registry import (
    REPRESENTATIONS,
    Concatenation,
    Entries,
    PerMatrix,
    PerModule,
    Representation,
    count,
    resolve,
)
from lora_perf.representations.updates import coupling, sketch, spectra  # noqa: F401 - registry
from lora_perf.representations.updates.modules import Modules

REPRESENTATIONS["flat_vec"] = Entries("flat_vec")
REPRESENTATIONS["ensemble"] = Concatenation(
    "ensemble", ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")
)

__all__ = [
    "REPRESENTATIONS",
    "Concatenation",
    "Entries",
    "Matrices",
    "Modules",
    "PerMatrix",
    "PerModule",
    "Representation",
    "count",
    "resolve",
]
