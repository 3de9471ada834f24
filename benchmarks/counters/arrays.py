"""Fresh memory of NumPy's arrays, as `pytest --pairs` counts it: read from this tree, whatever package is measured."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from benchmarks.suite import today


def _engine() -> ModuleType:
    path = today.ROOT / "lora_perf" / "pairs" / "arrays.py"
    spec = importlib.util.spec_from_file_location("lora_perf_pairs_arrays", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_arrays = _engine()
noted, taken = _arrays.noted, _arrays.taken
