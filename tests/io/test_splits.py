"""What `split=` takes of data sets in memory, and which objects are no data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.splits import chosen
from lora_perf.zoos import EMBEDDED
from tests.io.checks import parts as parts_of
from tests.io.checks import refuses
from tests.io.tables.forms import DOWN, LABEL, adapters, assert_rows, python_rows, zoo_of


@pytest.mark.parametrize(
    ("names", "split", "taken"),
    [
        (["train", "test"], None, [("train", 0), ("test", 2)]),
        (["train", "valid", "test"], None, [("train", 0), ("valid", 1), ("test", 2)]),
        (["train"], None, [("train", None)]),
        (["everything"], None, [("everything", None)]),
        (["train", "extra"], "train", [("train", None)]),
        (["train", "extra"], "all", [("train", None), ("extra", None)]),
        (["train", "extra", "test"], "test+train", [("test", 2), ("train", 0)]),
        (["train", "extra"], "train+extra", [("train", None), ("extra", None)]),
        (["a+b", "all"], "a+b", [("a+b", None)]),
        (["a+b", "all"], "all", [("all", None)]),
    ],
)
def test_parts_are_chosen(names: list[str], split: str | None, taken: list[tuple[str, int | None]]) -> None:
    assert chosen(names, split, "zoo") == taken


@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["train", "extra"], None, "not all of them are for training, validation or testing; found the splits train, extra;"),
        (["train", "test"], "dev", "a split 'dev' in zoo; found the splits train, test; choose with split="),
        (["train", "test"], "train+dev", "a split 'dev' in zoo; found the splits train, test;"),
        (["train", "test"], "train+train", r"a split 'train\+train' in zoo"),
        (["train", "test"], "", "a split '' in zoo"),
        (["train", "test"], "train[:5]", r"whole splits of zoo; found the slice 'train\[:5\]'; take whole splits"),
    ],
)
def test_what_cannot_be_chosen_lists_the_parts(names: list[str], split: str | None, message: str) -> None:
    with pytest.raises(LoraPerfError, match=message):
        chosen(names, split, "zoo")


def test_a_part_of_a_file_is_found_by_a_name_that_means_the_same() -> None:
    assert chosen(["train", "val"], "validation", "zoo", alike=True) == [("val", None)]


def test_parts_of_other_types_are_one_zoo(parts: Any) -> None:
    wide = parts["test"].cast_column(LABEL, datasets.Value("large_string"))
    features = datasets.Sequence(datasets.Sequence(datasets.Value("float16")))
    wide = wide.cast_column(DOWN, features).shuffle(seed=3)
    mixed = datasets.DatasetDict(train=parts["train"], test=wide)
    zoo = lora_perf.load(mixed)
    assert (len(zoo), zoo.split.tolist()) == (14, [0] * 9 + [2] * 5)
    assert_rows(lora_perf.load(mixed, split="test"), python_rows(wide))
    assert zoo.rows[9:].tolist() == python_rows(wide).tolist()
    assert [zoo.classes[label] for label in zoo.labels] == [*parts["train"][LABEL], *wide[LABEL]]


def test_parts_with_other_columns_are_refused(parts: Any) -> None:
    parts["test"] = parts["test"].remove_columns(DOWN)
    refuses(parts, "the weight columns of train in every shard; found others in test")


def test_a_single_data_set_is_its_own_part(data: Any, tmp_path: Path) -> None:
    assert len(lora_perf.load(data, split="all")) == len(lora_perf.load(data, split="train")) == len(data)
    refuses(data, "a split 'test' in Dataset; found the splits train", split="test")
    pq.write_table(adapters(2), tmp_path / "zoo.parquet")
    refuses(
        tmp_path / "zoo.parquet", r"a split 'test' in .*zoo\.parquet; found the splits train: a single table is", split="test"
    )


# Choices that a source does not have


def sources(tmp_path: Path) -> dict[str, Any]:
    zoo = zoo_of(adapters(4))
    return {"Zoo": zoo, "embedded": next(iter(EMBEDDED)), "packed": lora_perf.pack(zoo, tmp_path / "zoo.safetensors")}


@pytest.mark.parametrize("source", ["Zoo", "embedded", "packed"])
def test_parts_and_label_columns_are_refused_where_a_zoo_is_taken_whole(source: str, tmp_path: Path) -> None:
    found = sources(tmp_path)[source]
    assert len(lora_perf.load(found, split="all")) == len(lora_perf.load(found))
    refuses(found, r"no split=\.\.\. for .*; found split='test'; leave it out", split="test")
    message = r"no label_column=\.\.\. \(--label-column\) for .*; found label_column='nonsense'"
    refuses(found, message, label_column="nonsense")


# Objects


def test_a_transform_is_refused_since_it_shows_other_values(data: Any) -> None:
    changed = data.with_transform(lambda batch: batch)
    refuses(changed, r"found a transform .*; apply it with data\.map\(\.\.\.\), or take it off")
    refuses(datasets.DatasetDict(train=data, test=changed), "found a transform")


@pytest.mark.parametrize("kind", ["torch", "numpy", "arrow", "pandas"])
def test_a_format_changes_nothing(data: Any, kind: str) -> None:
    assert_rows(lora_perf.load(data.with_format(kind)), python_rows(data))


def test_streams_are_refused(data: Any) -> None:
    stream = data.to_iterable_dataset()
    for source in (stream, datasets.IterableDatasetDict(train=stream)):
        refuses(source, "which is a stream; load it without streaming=True")


def test_an_object_of_arrow_that_is_no_table_is_named() -> None:
    refuses(pa.array([1, 2]), r"a table with a column for each factor; found a Int64Array that is none")


# A column of the table


def with_split(*parts: str | None) -> pa.Table:
    return adapters(len(parts)).append_column("split", pa.array(parts, pa.string()))


def test_a_column_split_is_the_split(tmp_path: Path) -> None:
    table = with_split("train", "Test", "valid", "train")
    pq.write_table(table, tmp_path / "zoo.parquet")
    for source in (table, datasets.Dataset(table), tmp_path / "zoo.parquet", tmp_path):
        assert parts_of(lora_perf.load(source)) == [0, 2, 1, 0]


@pytest.mark.parametrize("parts", [("train", "train"), ("a", "b"), (None, None)])
def test_a_column_split_of_one_part_or_another_meaning_is_none(parts: tuple[str | None, ...]) -> None:
    assert lora_perf.load(with_split(*parts)).split is None


@pytest.mark.parametrize(("strange", "told"), [("later", "'later' in row 1"), (None, "None in row 1")])
def test_a_column_split_that_is_one_in_some_rows_only_is_refused(strange: str | None, told: str) -> None:
    refuses(with_split("train", strange, "test"), f"in every row of column 'split' of Table; found {told}; write one of these")


def test_a_split_that_was_chosen_counts_before_the_column() -> None:
    data = datasets.Dataset(with_split("test", "test"))
    assert parts_of(lora_perf.load(datasets.DatasetDict(train=data, test=data))) == [0, 0, 2, 2]
