from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.metadata import Metadata

RAW: dict[str, Any] = {
    "list": [3, 1, 2],
    "NumPy": np.array([3, 1, 2], np.int16),
    "NumPy scalars": list(np.array([3, 1, 2])),
    "torch": torch.tensor([3, 1, 2]),
    "Arrow": pa.chunked_array([[3, 1], [2]]),
}


@pytest.mark.parametrize("raw", RAW.values(), ids=list(RAW))
def test_values_of_any_source_are_plain_and_can_be_chosen(raw: Any) -> None:
    table = Metadata({"number": raw})
    for one in (table, pickle.loads(pickle.dumps(table))):
        assert one["number"] == [3, 1, 2]
        assert {type(value) for value in one["number"]} == {int}
        assert one.select([2, 0]).select([1, 1])["number"] == [3, 3]
        assert one.row(1) == {"number": 1}


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"one value an adapter \(2\) in each column of metadata; found 3 in b; give"):
        Metadata({"a": [1, 2], "b": [1, 2, 3]})


def test_an_unknown_column_is_a_key_error_that_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no column 'c' in the metadata \(a, b\)"):
        Metadata({"a": [1], "b": [2]})["c"]


def test_it_tells_what_it_holds() -> None:
    assert repr(Metadata({"a": [1, 2], "b": "xy"})) == "Metadata(2 adapters, 2 columns: a, b)"
    assert repr(Metadata(n=3)) == "Metadata(3 adapters, 0 columns)"


def test_a_frame_has_a_row_an_adapter() -> None:
    frame = Metadata({"a": [1, 2], "b": ["x", "y"]}).to_frame(["one", "two"])
    assert frame.loc["two"].to_dict() == {"a": 2, "b": "y"}
    assert frame.index.name == "adapter"


def test_markup_in_values_is_text_in_a_notebook() -> None:
    shown = Metadata({"<script>": ["<b>&"]})._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "&lt;b&gt;&amp;" in shown
