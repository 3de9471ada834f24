"""Groups stay on one side of a split, copies too; what cannot be divided so is one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.grouping import Grouping, grouped_parts, joined, one_sided
from lora_perf.core.split import Split, make_split

CLASSES = list("abcd")


def sides(split: Split, of: torch.Tensor) -> list[set[int]]:
    return [set(of[part].tolist()) for part in (split.train, split.validation, split.test)]


@settings(max_examples=60)
@given(st.data())
def test_no_group_stands_in_two_parts_and_every_adapter_in_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(30, 200))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    groups = torch.from_numpy(rng.integers(0, data.draw(st.integers(6, 40)), n))
    labels = torch.from_numpy(rng.integers(0, data.draw(st.integers(2, 4)), n))
    try:
        split = make_split(labels, CLASSES, groups=groups, seed=data.draw(st.integers(0, 100)))
    except LoraPerfError as error:
        assert "group" in str(error) or "part of the split" in str(error)  # noqa: PT017 - either is an answer
        return
    assert split.kind == "grouped"
    assert torch.cat([split.train, split.validation, split.test]).sort().values.tolist() == list(range(n))
    one, two, three = sides(split, groups)
    assert not one & two
    assert not one & three
    assert not two & three


def test_parts_have_about_the_asked_sizes_and_the_shares_of_classes() -> None:
    labels, groups = torch.arange(2000) % 4, torch.arange(2000) // 10
    split = make_split(labels, CLASSES, groups=groups)
    assert len(split.test) == pytest.approx(400, abs=40)
    assert len(split.validation) == pytest.approx(200, abs=30)
    assert labels[split.test].bincount().tolist() == pytest.approx([100] * 4, abs=20)
    again = make_split(labels, CLASSES, groups=groups)
    assert torch.equal(split.test, again.test)
    assert not torch.equal(split.test, make_split(labels, CLASSES, groups=groups, seed=43).test)


def test_a_group_that_is_all_of_a_class_is_trained_on() -> None:
    labels = torch.tensor([0, 1] * 40 + [2] * 10)
    groups = torch.tensor([k // 8 for k in range(80)] + [99] * 10)
    split = make_split(labels, CLASSES, groups=groups)
    assert set(range(80, 90)) <= set(split.train.tolist())


@pytest.mark.parametrize(
    ("labels", "groups", "found"),
    [
        ([0, 1] * 10, [0, 1] * 10, "2 among 20"),
        ([0, 1] * 10, [0] * 20, "1 among 20"),
        ([k // 10 for k in range(30)], [k // 10 for k in range(30)], "a single group in each class"),
        ([0] * 10 + [1] * 10 + [2] * 10, [0] * 10 + [1] * 10 + [2, 3] * 5, "2 of 4"),
    ],
)
def test_what_cannot_be_divided_is_said(labels: list[int], groups: list[int], found: str) -> None:
    if found == "2 of 4":  # one class is left to be tested, by two groups: it can be
        grouped_parts(np.array(labels), CLASSES, np.array(groups), 0)
        return
    with pytest.raises(LoraPerfError, match=found):
        make_split(torch.tensor(labels), CLASSES, groups=torch.tensor(groups))


@given(st.data())
def test_copies_stand_on_one_side(data: st.DataObject) -> None:
    n = data.draw(st.integers(40, 120))
    copies = torch.from_numpy(np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3 * n, n))
    copies = copies.unique(return_inverse=True)[1]
    labels = torch.arange(n) % 2
    plain = make_split(labels, CLASSES)
    try:
        split = make_split(labels, CLASSES, copies=copies)
    except LoraPerfError as error:  # so many copies that a part is left without any
        assert "part of the split" in str(error)  # noqa: PT017 - either is an answer
        return
    one, two, three = sides(split, copies)
    assert not one & two
    assert not (one | two) & three
    assert torch.cat([split.train, split.validation, split.test]).sort().values.tolist() == list(range(n))
    lone = copies.bincount()[copies] == 1  # adapters without copies stay where they were
    for part, before in ((split.train, plain.train), (split.test, plain.test)):
        assert set(before[lone[before]].tolist()) <= set(part.tolist())


def test_without_copies_nothing_moves() -> None:
    parts = (np.array([0, 3]), np.array([1]), np.array([2]))
    assert one_sided(parts, np.arange(4)) is parts


def test_groups_and_copies_are_kept_together() -> None:
    of = joined(torch.tensor([0, 0, 1, 1, 2, 3]), torch.tensor([0, 1, 1, 2, 3, 4]))
    assert of.tolist()[:4] == [of[0]] * 4
    assert len(of.unique()) == 3


def test_groups_are_those_of_equal_values() -> None:
    found = Grouping.by("creator", ["x", "y", "x", 3])
    assert (found.of.tolist(), found.names) == ([0, 1, 0, 2], ["x", "y", "3"])


@pytest.mark.parametrize("value", [["ann", "bob"], ("ann",), {"ann": 1}])
def test_a_group_is_one_value(value: object) -> None:
    with pytest.raises(LoraPerfError, match=f"one value of creator for each adapter, its group; found {type(value).__name__}s"):
        Grouping.by("creator", ["ann", value])
