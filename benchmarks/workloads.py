"""The one table of workloads: what is measured, by every runner.

>>> from benchmarks.workloads import TABLE
>>> TABLE["load_nested"].prepare("small").checked()
"""

from benchmarks.stages import learning, loading, preparing, representing, streaming, training, updates, whole  # noqa: F401 - each fills the table
from benchmarks.table import TABLE, Baseline, Case, Workload

__all__ = ["TABLE", "Baseline", "Case", "Workload"]
