"""Labels of shards and splits that several programs wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from tests.io.checks import labels, refuses
from tests.io.tables.forms import DOWN, GOOD, LABEL, TEXTS, as_kind, labelled


def write(folder: Path, *tables: pa.Table) -> Path:
    for i, table in enumerate(tables):
        pq.write_table(table, folder / f"{i}.parquet")
    return folder


@pytest.mark.parametrize("first", TEXTS[:5], ids=str)
@pytest.mark.parametrize("second", TEXTS[:5], ids=str)
def test_texts_of_any_two_types_are_labels_of_one_zoo(first: pa.DataType, second: pa.DataType, tmp_path: Path) -> None:
    zoo = lora_perf.load(write(tmp_path, as_kind(labelled("fox", "ant"), first), as_kind(labelled("bee", "ant"), second)))
    assert (zoo.classes, zoo.labels.tolist()) == (["ant", "bee", "fox"], [2, 0, 1, 0])


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.uint64(), pa.bool_()], ids=str)
def test_numbers_of_two_types_are_labels_of_one_zoo(kind: pa.DataType, tmp_path: Path) -> None:
    zoo = lora_perf.load(write(tmp_path, labelled(1, 9, kind=pa.int64()), as_kind(labelled(1, 0), kind)))
    assert (zoo.classes, zoo.labels.tolist()) == (["0", "1", "9"], [1, 2, 1, 0])


def test_a_shard_whose_labels_are_all_missing_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, labelled("a", "b"), labelled(None, None))
    refuses(folder, r"column 'category_label' of 1\.parquet; found 2 missing, the first in row 2;")


def test_a_shard_without_rows_says_nothing_of_labels(tmp_path: Path) -> None:
    empty = labelled("a", "b").slice(0, 0)
    empty = empty.set_column(empty.schema.get_field_index(LABEL), LABEL, pa.nulls(0))
    assert lora_perf.load(write(tmp_path, labelled("b", "a"), empty)).labels.tolist() == [1, 0]


# ClassLabels, whose numbers mean what their own table says


def numbered(names: list[str], *labels: str) -> Any:
    """A data set whose ClassLabel has these names."""
    weights = datasets.List(datasets.List(datasets.Value("float32")))
    features = datasets.Features({DOWN: weights, LABEL: datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict({DOWN: [GOOD] * len(labels), LABEL: [*labels]}, features=features)


def test_splits_that_number_their_classes_otherwise_have_the_same_classes_by_name(tmp_path: Path) -> None:
    data = datasets.DatasetDict(
        train=numbered(["dog", "cat"], "cat", "dog"), test=numbered(["cat", "dog", "emu"], "cat", "emu")
    )
    data.save_to_disk(tmp_path / "saved")
    for source in (data, tmp_path / "saved"):
        zoo = lora_perf.load(source)
        assert (zoo.classes, labels(zoo)) == (["dog", "cat", "emu"], ["cat", "dog", "cat", "emu"])


def test_shards_that_number_their_classes_otherwise_have_the_same_classes_by_name(tmp_path: Path) -> None:
    numbered(["cat", "dog"], "cat", "dog").to_parquet(tmp_path / "a.parquet")
    numbered(["dog", "cat"], "cat", "dog").to_parquet(tmp_path / "b.parquet")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["cat", "dog"], [0, 1, 0, 1])


def test_texts_and_class_labels_are_one_set_of_classes() -> None:
    texts = datasets.Dataset(labelled("ant", "cat"))
    zoo = lora_perf.load(datasets.DatasetDict(train=texts, test=numbered(["dog", "cat"], "cat", "dog")))
    assert (zoo.classes, labels(zoo)) == (["dog", "cat", "ant"], ["ant", "cat", "cat", "dog"])


def test_class_labels_and_numbers_without_names_are_refused() -> None:
    data = datasets.DatasetDict(train=datasets.Dataset(labelled(0, 1)), test=numbered(["dog", "cat"], "cat"))
    refuses(data, "found mixed labels: names in test, numbers without names in train; write all")


def test_a_number_without_a_name_is_named_by_its_row_in_the_zoo() -> None:
    damaged = numbered(["cat", "dog"], "cat", "dog")
    table = damaged.data.table.set_column(1, damaged.data.table.schema.field(LABEL), pa.array([1, 2]))
    damaged = datasets.Dataset(table, info=damaged.info)
    refuses(datasets.DatasetDict(train=numbered(["dog"], "dog", "dog"), test=damaged), "found 2 in row 3 of 2 classes")
