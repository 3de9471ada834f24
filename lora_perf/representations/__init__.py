"""Representations: adapters -> features.

Each is a function of one matrix (layer), computed for a batch of matrices at once, and stands in one dict under the
name that serves everywhere: as function, registry key, CLI value, report row and benchmark name.
"""

from lora_perf.representations import frequency, information, norms, spectral, statistics  # noqa: F401 - fill the registry
from lora_perf.representations.matrices import Matrices
from lora_perf.representations.registry import REPRESENTATIONS, Concatenation, Entries, PerMatrix, Representation, resolve

REPRESENTATIONS["flat_vec"] = Entries("flat_vec")
REPRESENTATIONS["ensemble"] = Concatenation(
    "ensemble", ("spectral", "matrix_norms", "distribution", "frequency", "info_theoretic")
)

__all__ = ["REPRESENTATIONS", "Concatenation", "Entries", "Matrices", "PerMatrix", "Representation", "resolve"]
