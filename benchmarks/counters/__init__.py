"""What is exactly repeatable: how often things are called, and how many bytes are made, counted in two calls of a workload.

A clock on a shared machine cannot see a loss of some per cent; these numbers are the same on every machine, so that one
needless copy, conversion or call is seen. `benchmarks.budgets` compares them with what each workload is allowed.

>>> from benchmarks import budgets, counters
>>> counts = counters.count(case)
>>> budgets.load().violations("load_nested", counts)
[]
"""

from __future__ import annotations

from benchmarks.counters.calls import count_calls
from benchmarks.counters.memory import count_memory
from benchmarks.table import Case

__all__ = ["MEANING", "count", "count_calls", "count_memory"]

# Every counter, in the order of tables: each means cost, and none follows from the others.
MEANING = {
    "calls": "calls of Python functions and of builtin ones",
    "file_calls": "opening, reading and writing files",
    "child_modules": "modules of others that Python processes imported which the workload started",
    "operators": "operators that torch dispatched",
    "synchronisations": "single values that a tensor gave to Python, for which a GPU stops",
    "product_flops": "floating-point operations of matrix products",
    "written_nbytes": "bytes that operators wrote, new or in place",
    "copied_nbytes": "of them, by operators that copy",
    "allocations": "times that NumPy and Arrow took memory",
    "allocated_nbytes": "bytes that they took",
    "rows_nbytes": "bytes of rows that sources read",
    "peak_nbytes": "most bytes that Python and NumPy held at a time of what the call took",
    "torch_peak_nbytes": "most bytes that results of operators held at a time",
}


def count(case: Case) -> dict[str, int]:
    """All counters of a case that was called before, and so is warm; their names and meanings stand in `MEANING`.

    Cost: two calls of the case, each up to some times slower than a free one; one torch thread.
    """
    found = count_calls(case.call, before=case.before) | count_memory(case.call, before=case.before)
    return {name: found[name] for name in MEANING}
