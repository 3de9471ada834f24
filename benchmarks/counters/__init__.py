"""What is exactly repeatable: how often things are called, and how many bytes are made, counted in three calls of a workload.

A clock on a shared machine cannot see a loss of some per cent; these numbers are the same on every machine, so that one
needless copy, conversion or call is seen. `benchmarks.budgets` compares them with what each workload is allowed.

>>> from benchmarks import budgets, counters
>>> counts = counters.count(case)
>>> budgets.load().violations("load_nested", counts)
[]
"""

from __future__ import annotations

from benchmarks.counters.calls import count_calls
from benchmarks.counters.memory import count_memory, count_peak
from benchmarks.table import Case

__all__ = ["MEANING", "count", "count_calls", "count_memory", "count_peak"]

# Every counter, in the order of tables.
MEANING = {
    "layers": "layers that the workload goes through: its size",
    "adapters": "adapters that it goes through: its size",
    "nbytes": "bytes that it has to touch: its size",
    "python_calls": "calls of Python functions",
    "c_calls": "calls of builtin functions and methods",
    "lines": "lines of lora_perf that were executed, each turn of a loop anew",
    "datasets_calls": "calls of Python functions of `datasets`: formatters and readers of single examples",
    "file_calls": "opening, reading and writing files",
    "list_calls": "tolist and item: conversions of arrays to Python numbers",
    "tensor_calls": "torch.tensor, as_tensor and new_tensor: tensors made of Python numbers",
    "child_modules": "modules that Python processes imported which the workload started",
    "child_packages": "third-party packages among them",
    "child_lines": "lines of lora_perf that they executed",
    "operators": "operators that torch dispatched",
    "copies": "operators that copy: copy_, clone, cat, stack, _to_copy",
    "casts": "copies into another dtype",
    "gathers": "operators that collect by index",
    "transfers": "copies to another device",
    "sorts": "sort and topk in torch",
    "products": "matrix products",
    "decompositions": "eigenvalues, singular values, QR, Cholesky, Fourier transforms",
    "synchronisations": "single values that a tensor gave to Python, for which a GPU stops",
    "product_flops": "floating-point operations of matrix products",
    "written_nbytes": "bytes that operators wrote, new or in place",
    "copied_nbytes": "of them, by operators that copy",
    "cast_nbytes": "of them, by copies into another dtype",
    "gathered_nbytes": "of them, by operators that collect",
    "numpy_arrays": "arrays for which NumPy took fresh memory",
    "numpy_nbytes": "bytes of these arrays",
    "arrow_buffers": "times that Arrow took memory",
    "arrow_nbytes": "bytes that it took",
    "rows_nbytes": "bytes of rows that sources read",
    "peak_nbytes": "most bytes that Python and NumPy held at a time of what the call took",
    "torch_peak_nbytes": "most bytes that results of operators held at a time",
}


def count(case: Case) -> dict[str, int]:
    """All counters of a case that was checked, and so is warm; their names and meanings stand in `MEANING`.

    Cost: three calls of the case, each up to some times slower than a free one; one torch thread.
    """
    found = {"layers": case.layers, "adapters": case.adapters, "nbytes": case.nbytes}
    found |= count_calls(case.call, before=case.before)
    found |= count_memory(case.call, before=case.before)
    found |= count_peak(case.call, before=case.before)
    return {name: found[name] for name in MEANING}
