"""A zoo is made of what users have: tensors, arrays, lists; and what is none of these is refused in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.making import encode
from lora_perf.core.zoo import Zoo

LAYOUT = Layout([("a.lora.down.weight", (2, 5)), ("a.lora.up.weight", (4, 2))])
ROWS = torch.arange(54, dtype=torch.float32).reshape(3, 18)


@pytest.mark.parametrize("made", [ROWS, ROWS.numpy(), ROWS.tolist(), ROWS.double(), ROWS.long(), ROWS.numpy().astype(">f8")])
def test_rows_may_be_anything_that_holds_numbers(made: Any) -> None:
    torch.testing.assert_close(Zoo.from_rows(made, LAYOUT).rows, ROWS, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, pd.Series])
def test_labels_and_split_may_be_any_whole_numbers(kind: Any) -> None:
    zoo = Zoo.from_rows(ROWS, LAYOUT, kind([0, 1, 0]), ["a", "b"], split=kind([0, 2, 1]))
    assert zoo.labels is not None
    assert zoo.split is not None
    assert (zoo.labels.tolist(), zoo.split.tolist()) == ([0, 1, 0], [0, 2, 1])


def test_scales_may_be_an_array() -> None:
    scales = np.full((3, 1), 2.0)
    scales.setflags(write=False)
    zoo = Zoo.from_rows(ROWS, LAYOUT, scales=scales)
    assert zoo[1].modules["a"].scale == 2


@pytest.mark.parametrize("kind", [np.asarray, list])
def test_layers_may_be_arrays_or_lists_of_matrices(kind: Any) -> None:
    down, up = ROWS[:, :10].reshape(3, 2, 5), ROWS[:, 10:].reshape(3, 4, 2)
    zoo = Zoo.from_tensors({"a.lora.down.weight": kind(down), "a.lora.up.weight": kind(up)}, np.array(["x", "y", "x"]))
    torch.testing.assert_close(zoo.rows, ROWS, rtol=0, atol=0)
    assert zoo.classes == ["x", "y"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"rows": ["a"]}, "numbers as rows.*found list"),
        ({"rows": [[1.0], [1.0, 2.0]]}, "numbers as rows.*found list"),
        ({"rows": torch.empty(3, 18, device="meta")}, "numbers as rows.*found Tensor of torch.float32"),
        ({"rows": ROWS[0]}, r"rows \(n, p\).*shape \(18,\).*row\[None\]"),
        ({"labels": ["a", "b", "a"]}, "whole numbers as labels.*found list"),
        ({"labels": torch.tensor([0.5, 0, 1])}, "whole numbers as labels.*found Tensor of torch.float32"),
        ({"labels": [0, 1, float("nan")]}, "whole numbers as labels.*found list"),
        ({"split": ["train", "test", "test"]}, "whole numbers as split"),
        ({"scales": "one"}, "numbers as scales.*found str"),
        ({"classes": ["a", "a"]}, "classes of different names; found a twice"),
    ],
)
def test_what_is_no_number_is_refused(said: dict[str, Any], told: str) -> None:
    given = {"rows": ROWS, "layout": LAYOUT, "labels": [0, 1, 0], "classes": ["a", "b"]} | said
    with pytest.raises(LoraPerfError, match=told):
        Zoo.from_rows(**given)


def test_metadata_may_be_a_data_frame_and_classes_numbers() -> None:
    zoo = Zoo.from_rows(ROWS, LAYOUT, [0, 1, 0], [7, 8], metadata=pd.DataFrame({3: [4, 5, 6]}))  # type: ignore[list-item]  # numbers
    assert zoo.classes == ["7", "8"]
    assert dict(zoo.metadata) == {"3": [4, 5, 6]}


@pytest.mark.parametrize("truth", [True, False, np.True_, torch.tensor(True)])
def test_a_single_truth_is_no_row(truth: Any) -> None:
    """A list is never equal to a number, and `zoo[labels == 3]` would give the first adapter."""
    with pytest.raises(LoraPerfError, match=r"a row number, or 3 booleans; found (True|False) alone"):
        Zoo.from_rows(ROWS, LAYOUT)[truth]


@pytest.mark.parametrize("labels", [["a", None], [1.5, 2.5], [None, None], ["a", float("nan")]])
def test_labels_that_are_no_classes_are_refused(labels: list[Any]) -> None:
    with pytest.raises(LoraPerfError, match="labels that are texts or whole numbers; found"):
        encode(labels)
