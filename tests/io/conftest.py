"""Data sets that the tests of sources share."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from tests.io.tables.forms import adapters

N = 17


@pytest.fixture
def data() -> Any:
    """A data set of 17 adapters in memory."""
    return datasets.Dataset(adapters(N))


@pytest.fixture
def parts(data: Any) -> Any:
    """A DatasetDict of three splits of 9, 3 and 5 adapters."""
    ranges = {"train": range(9), "validation": range(9, 12), "test": range(12, N)}
    return datasets.DatasetDict({name: data.select(rows) for name, rows in ranges.items()})
