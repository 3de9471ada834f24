"""A table of workloads that take microseconds, for tests of the runners."""

from __future__ import annotations

import numpy as np

from benchmarks.table import Baseline, Case, Workload, accept


def expect(value: int, found: object) -> None:
    assert found == value, f"{found} instead of {value}"


def case(value: int = 1, *, share: float = 0.25, found: int | None = None, slow: int | None = None) -> Case:
    """One call that gives `found`, a baseline that gives `slow`, both checked to be `value`, and a limit."""
    baseline = Baseline(lambda: slow or value, lambda result: expect(value, result), share)
    return Case(
        lambda: found or value,
        lambda result: expect(value, result),
        4_000,
        baselines={"torch.tensor": baseline, "with_format-torch": baseline, "DataLoader": baseline},
        limit=lambda: np.ones(10).sum(),
    )


def bare() -> Case:
    """A case without baselines or limit."""
    return Case(lambda: None, accept, 8)


def table() -> dict[str, Workload]:
    """One workload a stage, under names that reports look for."""
    names = {
        "load_nested": "loading",
        "load_array2d": "loading",
        "pack_nested": "packing",
        "represent_all": "representing",
        "standardise": "preparing",
        "train_ten_runs": "training",
    }
    made = {
        name: Workload(name, stage, ("small", "medium"), lambda _: case(), ("torch.tensor",), True)
        for name, stage in names.items()
    }
    return {**made, "import_package": Workload("import_package", "whole", ("small",), lambda _: bare())}
