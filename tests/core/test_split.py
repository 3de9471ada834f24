from functools import partial

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.audit.config import AuditConfig
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split, absent_classes, make_split, refuse_unlearnable
from lora_perf.experiment.config import ExperimentConfig

CLASSES = [f"class{c}" for c in range(10)]


def counts(split: Split, labels: torch.Tensor) -> np.ndarray:
    """(3, c): rows of each class in each part."""
    return np.stack([np.bincount(labels[part], minlength=10) for part in (split.train, split.validation, split.test)])


def assert_partition(split: Split, n: int) -> None:
    rows = torch.cat([split.train, split.validation, split.test])
    assert rows.dtype == torch.int64
    torch.testing.assert_close(rows.sort().values, torch.arange(n))


@pytest.mark.parametrize("n", [11, 13, 20, 21, 50, 99, 100, 101, 333, 1000, 1007, 10_000, 50_000])
def test_original_gives_the_rows_of_datasets_in_their_order(n):
    whole = datasets.Dataset.from_dict({"row": np.arange(n)})
    first = whole.train_test_split(test_size=0.3, seed=42)
    second = first["test"].train_test_split(test_size=0.67, seed=42)
    split = make_split(torch.arange(n) % 10, CLASSES, method="original")
    np.testing.assert_array_equal(split.train, first["train"].with_format("numpy")["row"][:])
    np.testing.assert_array_equal(split.validation, second["train"].with_format("numpy")["row"][:])
    np.testing.assert_array_equal(split.test, second["test"].with_format("numpy")["row"][:])
    assert split.kind == "original"
    assert not split.resubstitution


def test_stratified_divides_every_class_in_the_same_proportions():
    labels = torch.arange(2000) % 10
    split = make_split(labels, CLASSES)
    assert split.kind == "stratified"
    assert_partition(split, 2000)
    np.testing.assert_allclose(counts(split, labels), np.array([[140], [19.8], [40.2]]).repeat(10, axis=1), atol=1)
    assert [len(split.train), len(split.validation), len(split.test)] == [1400, 198, 402]


@given(st.lists(st.integers(2, 60), min_size=2, max_size=10).filter(lambda sizes: sum(sizes) > 10), st.integers(0, 2**31))
def test_stratified_gives_every_class_a_place_in_every_part_it_can_fill(sizes, seed):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    if max(sizes) == 2:
        with pytest.raises(LoraPerfError, match="no validation rows"):
            make_split(labels, CLASSES, seed=seed)
        return
    split = make_split(labels, CLASSES, seed=seed)
    assert_partition(split, len(labels))
    train, validation, test = counts(split, labels)[:, : len(sizes)]
    assert (train >= 1).all()
    assert (test >= 1).all()
    assert (validation[np.array(sizes) >= 3] >= 1).all()


def test_stratified_depends_on_its_seed_only():
    labels = torch.randint(0, 10, (500,), generator=torch.Generator().manual_seed(0))
    first, again, other = (make_split(labels, CLASSES, seed=seed) for seed in (42, 42, 43))
    torch.testing.assert_close(first.test, again.test)
    assert not torch.equal(first.test, other.test)


def test_a_class_of_one_adapter_is_named():
    labels = torch.tensor([0] * 10 + [1] * 10 + [7])
    with pytest.raises(LoraPerfError, match=r"a single one of class7"):
        make_split(labels, CLASSES)


def test_classes_without_adapters_are_passed_over():
    split = make_split(torch.arange(100) % 2, CLASSES)
    assert_partition(split, 100)


def test_the_split_of_the_zoo_comes_first():
    own = torch.tensor([0, 0, 1, 2] * 10)
    split = make_split(torch.arange(40) % 2, CLASSES, own)
    assert split.kind == "zoo"
    torch.testing.assert_close(split.validation, torch.arange(2, 40, 4))
    assert make_split(torch.arange(40) % 2, CLASSES, own, "stratified").kind == "stratified"


def test_a_split_without_validation_takes_it_from_its_train_rows():
    labels, own = torch.arange(300) % 10, (torch.arange(300) >= 200).long() * 2
    split = make_split(labels, CLASSES, own, "zoo")
    assert_partition(split, 300)
    torch.testing.assert_close(split.test, torch.arange(200, 300))
    np.testing.assert_allclose(counts(split, labels)[1], 2.5, atol=0.5)


@pytest.mark.parametrize(("missing", "name"), [(0, "train"), (2, "test")])
def test_a_split_without_train_or_test_rows_is_refused(missing, name):
    own = torch.tensor([0, 1, 2] * 10)
    own[own == missing] = 1
    with pytest.raises(LoraPerfError, match=f"no {name} rows"):
        make_split(torch.arange(30) % 2, CLASSES, own)


def test_a_split_that_never_trains_a_class_is_refused():
    labels, own = torch.arange(30) % 3, torch.tensor([0, 1, 2] * 10)
    with pytest.raises(LoraPerfError, match="none of class1, class2"):
        make_split(labels, CLASSES, own)


def test_a_method_without_what_it_needs_is_refused():
    with pytest.raises(LoraPerfError, match="a zoo with a split of its own"):
        make_split(torch.arange(30) % 3, CLASSES, method="zoo")
    with pytest.raises(LoraPerfError, match="auto, zoo, stratified, original"):
        make_split(torch.arange(30) % 3, CLASSES, method="random")


@pytest.mark.parametrize("method", ["auto", "zoo", "stratified", "original"])
@pytest.mark.parametrize("n", [1, 2, 10])
def test_ten_adapters_or_fewer_are_not_divided(method, n):
    split = make_split(torch.arange(n), CLASSES, method=method)
    assert split.kind == "tiny"
    assert split.resubstitution
    for part in (split.train, split.validation, split.test):
        torch.testing.assert_close(part, torch.arange(n))


def parts(train: list[int], test: list[int]) -> Split:
    return Split(torch.tensor(train), torch.tensor(train[:1]), torch.tensor(test), "zoo")


@pytest.mark.parametrize(
    ("labels", "split", "telling"),
    [
        ([1, 1, 1, 1], parts([0, 1], [2, 3]), r"one class \(class1\) of all 4 adapters"),
        ([1, 1, 0, 0], parts([0, 1], [2, 3]), r"one class \(class1\) of all 2 train adapters"),
        ([1, 0, 1, 0], parts([0, 1, 2], [3]), r"at least two test adapters; found one \(zoo split\)"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(labels, split, telling):
    with pytest.raises(LoraPerfError, match=telling):
        refuse_unlearnable(torch.tensor(labels), CLASSES, split)


def test_two_classes_and_two_test_adapters_are_enough():
    labels, split = torch.tensor([1, 0, 1, 1]), parts([0, 1], [2, 3])
    refuse_unlearnable(labels, CLASSES, split)
    assert absent_classes(labels, CLASSES, split.test) == ["class0"]


@pytest.mark.parametrize("make", [ExperimentConfig, partial(AuditConfig, "digits")], ids=["experiment", "audit"])
@pytest.mark.parametrize("seed", [-1, 1 << 32, 10**30])
def test_seeds_that_a_library_does_not_take_are_refused(make, seed):
    with pytest.raises(LoraPerfError, match=rf"--seed from 0 to {(1 << 32) - 10}; found {seed}; change --seed"):
        make(seed=seed)
