"""Columns of metadata as targets: what they are taken for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lora_perf import Zoo
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.target import Target, known_rows, labels_of, target_of
from tests.experiment.conftest import small_zoo

N = 60


def zoo(values: list[Any]) -> Zoo:
    plain = small_zoo()
    return Zoo.from_rows(plain.rows, plain.layout, plain.labels, plain.classes, metadata={"column": values}, name="told")


@pytest.mark.parametrize(
    ("values", "task", "found", "names"),
    [
        ([f"b{k % 3}" for k in range(N)], "auto", "classes", ("b0", "b1", "b2")),
        ([k % 4 * 10 for k in range(N)], "auto", "classes", ("0", "10", "20", "30")),
        ([k % 4 * 10 for k in range(N)], "numbers", "numbers", ()),
        ([k * 0.5 for k in range(N)], "auto", "numbers", ()),
        ([str(k * 1e-4) for k in range(N)], "auto", "numbers", ()),
        ([k % 2 == 0 for k in range(N)], "auto", "classes", ("False", "True")),
        ([["x", "y"][: k % 3] for k in range(N)], "auto", "several", ("x", "y")),
        ([("x; y", "y", "z")[k % 3] for k in range(N)], "several", "several", ("x", "y", "z")),
        ([f"b{k % 3}" for k in range(N)], "retrieval", "retrieval", ("b0", "b1", "b2")),
    ],
)
def test_values_are_taken_for_what_they_are(values: list[Any], task: Any, found: str, names: tuple[str, ...]) -> None:
    target = target_of(zoo(values), "column", task)
    assert (target.task, target.names) == (found, names)
    if found == "numbers":
        assert target.values.tolist() == [float(value) for value in values]
    elif found == "several":
        lists = [value if isinstance(value, list) else [one.strip() for one in value.split(";")] for value in values]
        assert target.values.tolist() == [[float(name in one) for name in names] for one in lists]
    else:
        assert [names[c] for c in target.values.tolist()] == [str(value) for value in values]


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([1] * N, "auto", "values of column that differ between adapters; found 1 for all"),
        (["same"] * N, "auto", "found 'same' for all"),
        ([float(k) if k else None for k in range(N)], "auto", "none for 1 \\(adapter 0\\)"),
        ([float("nan") if k < 2 else k for k in range(N)], "numbers", "none for 2 \\(adapter 0, adapter 1\\)"),
        ([" " if k == 5 else "a" for k in range(N)], "classes", "none for 1 \\(adapter 5\\)"),
        (["a", *range(1, N)], "numbers", "1 value that is none \\(adapter 0: 'a'\\)"),
        ([f"t{k}" for k in range(N)], "auto", "60 different values of 60 adapters"),
        ([[f"t{k}"] for k in range(N)], "auto", "60 labels, each of one adapter"),
        ([["a"]] * N, "numbers", "lists, as \\['a'\\]"),
    ],
)
def test_what_is_no_target_is_one_line(values: list[Any], task: Any, message: str) -> None:
    with pytest.raises(LoraPerfError, match=message) as caught:
        target_of(zoo(values), "column", task)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(LoraPerfError, match="a column x in the metadata of told; found the columns column; name one"):
        target_of(zoo(list(range(N))), "x")
    with pytest.raises(LoraPerfError, match="found no metadata; leave --target out"):
        target_of(small_zoo(), "x")


def test_rows_that_say_something_are_known() -> None:
    assert known_rows(zoo([None, "", float("nan"), 0, False, *range(5, N)]), ["column"]) == list(range(3, N))


def test_strata_divide_numbers_evenly_and_never_hold_one_adapter() -> None:
    strata, names = Target("x", "numbers", torch.arange(50, dtype=torch.float64)).strata
    assert (strata.bincount().tolist(), len(names)) == ([10] * 5, 5)
    skewed = torch.tensor([0.0] * 30 + [7.0])
    assert Target("x", "numbers", skewed).strata[0].bincount().tolist() == [31]
    several = torch.tensor([[1.0, 1], [1, 0], [1, 0], [0, 0], [0, 0], [1, 1]])
    assert sorted(Target("x", "several", several, ("often", "rare")).strata[0].bincount().tolist()) == [2, 2, 2]


def test_labels_are_a_target_of_their_own() -> None:
    zoo = small_zoo()
    assert (labels_of(zoo).task, labels_of(zoo, "retrieval").task) == ("classes", "retrieval")
    assert torch.equal(labels_of(zoo).values, zoo.labels)


def test_a_zoo_under_other_labels_is_the_same_adapters() -> None:
    zoo = small_zoo()
    other = zoo.relabelled(torch.zeros(N, dtype=torch.int64), ["one"])
    assert (other.classes, zoo.classes) == (["one"], ["a", "b", "c"])
    assert (other.row_hashes == zoo.row_hashes).all()
    assert other.fingerprint == Zoo.from_rows(zoo.rows, zoo.layout, other.labels, ["one"]).fingerprint != zoo.fingerprint
    assert other.relabelled(zoo.labels, zoo.classes).fingerprint == zoo.fingerprint
    with pytest.raises(LoraPerfError, match="label"):
        zoo.relabelled([5] * N, ["one"])
