"""Tables: what stands beside the columns of factors and is no statement of a scale, or no part of the adapters."""

from __future__ import annotations

import datasets
import pyarrow as pa
import pytest

import lora_perf
from tests.io.tables.forms import DOWN, adapters


def test_what_libraries_say_of_columns_is_no_statement(caplog: pytest.LogCaptureFixture) -> None:
    table = adapters(3).append_column("lora_alpha", pa.array([4, 6, 8]))
    for source in (datasets.Dataset(table), table.to_pandas()):
        zoo = lora_perf.load(source)
        assert zoo.scales is not None
        assert zoo.scales.tolist() == [[2.0], [3.0], [4.0]]
    assert not caplog.messages


def test_columns_that_are_no_factors_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    bias = DOWN.replace("down.weight", "up.bias")
    lora_perf.load(adapters(2).append_column(bias, pa.array([[1.0], [2.0]], pa.list_(pa.float32()))))
    assert f"Table: 1 column of numbers left alone, since they are no factors: {bias}" in caplog.messages
