"""Labels: what becomes a class, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

import lora_perf
from tests.io.checks import refuses
from tests.io.tables.forms import DOWN, GOOD, LABEL, TEXTS, as_kind, labelled, lists, refuses_table, table_of, zoo_of

NAMES = ["zebra", "ant", "mole"]


@pytest.fixture
def class_labels() -> Any:
    """A data set of a ClassLabel whose names are not in alphabetical order and not all in use."""
    features = datasets.Features(
        {DOWN: datasets.List(datasets.List(datasets.Value("float32"))), LABEL: datasets.ClassLabel(names=NAMES)}
    )
    return datasets.Dataset.from_dict({DOWN: [GOOD] * 4, LABEL: [2, 0, 0, 2]}, features=features)


# Classes


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_strings_are_classes_in_alphabetical_order(kind: pa.DataType) -> None:
    zoo = zoo_of(as_kind(labelled("fox", "ant", "fox", "Bee"), kind))
    assert zoo.classes == ["Bee", "ant", "fox"]
    assert_array_equal(zoo.labels.numpy(), np.array([2, 1, 2, 0]), strict=True)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.dictionary(pa.int8(), pa.int64())], ids=str
)
def test_integers_are_classes_in_numerical_order(kind: pa.DataType) -> None:
    zoo = zoo_of(labelled(9, 100, 9, 3, kind=kind))
    assert zoo.classes == ["3", "9", "100"]
    assert_array_equal(zoo.labels.numpy(), np.array([1, 2, 1, 0]), strict=True)


def test_negative_integers_are_classes_too() -> None:
    zoo = zoo_of(labelled(1, -1, 1))
    assert (zoo.classes, zoo.labels.tolist()) == (["-1", "1"], [1, 0, 1])


def test_booleans_are_classes() -> None:
    zoo = zoo_of(labelled(True, False, True))
    assert (zoo.classes, zoo.labels.tolist()) == (["0", "1"], [1, 0, 1])


def test_labels_of_one_class_are_labels() -> None:
    assert zoo_of(labelled("fox", "fox")).classes == ["fox"]


def test_class_labels_keep_all_names_and_their_order(class_labels: Any) -> None:
    zoo = lora_perf.load(class_labels)
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [2, 0, 0, 2])


def test_class_labels_keep_their_names_on_disk(class_labels: Any, tmp_path: Path) -> None:
    class_labels.save_to_disk(tmp_path / "zoo")
    zoo = lora_perf.load(tmp_path / "zoo")
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [2, 0, 0, 2])


def test_class_labels_keep_their_names_in_parquet(class_labels: Any, tmp_path: Path) -> None:
    class_labels.to_parquet(tmp_path / "zoo.parquet")
    zoo = lora_perf.load(tmp_path / "zoo.parquet")
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [2, 0, 0, 2])


def test_class_labels_keep_their_names_in_a_packed_file(class_labels: Any, tmp_path: Path) -> None:
    zoo = lora_perf.load(lora_perf.pack(class_labels, tmp_path / "zoo.safetensors"))
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [2, 0, 0, 2])


def test_class_labels_keep_their_names_in_a_view(class_labels: Any) -> None:
    zoo = lora_perf.load(class_labels.select([1, 0]))
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [0, 2])


def test_a_column_cast_to_class_labels_has_their_names() -> None:
    data = datasets.Dataset(labelled("b", "a", "b")).class_encode_column(LABEL)
    zoo = lora_perf.load(data)
    assert (zoo.classes, zoo.labels.tolist()) == (["a", "b"], [1, 0, 1])


def test_labels_follow_a_view() -> None:
    zoo = zoo_of(labelled("c", "a", "b", "c"), [3, 2, 2])
    assert (zoo.classes, zoo.labels.tolist()) == (["b", "c"], [1, 0, 0])


def test_labels_of_many_chunks_are_joined() -> None:
    table = pa.concat_tables([labelled("c", "a"), labelled("b"), labelled("a", "c")])
    zoo = zoo_of(table)
    assert (zoo.classes, zoo.labels.tolist()) == (["a", "b", "c"], [2, 0, 1, 0, 2])


def test_dictionaries_that_differ_from_chunk_to_chunk_are_joined() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    zoo = zoo_of(pa.concat_tables([labelled("c", "a", kind=kind), labelled("a", "b", kind=kind)]))
    assert (zoo.classes, zoo.labels.tolist()) == (["a", "b", "c"], [2, 0, 0, 1])


def test_another_column_can_hold_the_labels() -> None:
    data = datasets.Dataset(labelled("a", "b").append_column("style", pa.array(["oil", "ink"])))
    zoo = lora_perf.load(data, label_column="style")
    assert (zoo.classes, zoo.labels.tolist()) == (["ink", "oil"], [1, 0])


def test_another_column_of_parquet_can_hold_the_labels(tmp_path: Path) -> None:
    pq.write_table(labelled("a", "b").append_column("style", pa.array(["oil", "ink"])), tmp_path / "zoo.parquet")
    assert lora_perf.load(tmp_path / "zoo.parquet", label_column="style").classes == ["ink", "oil"]


# Refused labels


def test_a_missing_column_names_the_others() -> None:
    data = datasets.Dataset(pa.table({DOWN: lists(GOOD), "category_name": ["x"], "folder": ["y"]}))
    refuses(data, r"a label column 'kind'; found the columns category_name, folder; .*label_column=", label_column="kind")


def test_a_missing_column_among_weights_alone_says_so() -> None:
    refuses(pa.table({DOWN: lists(GOOD)}), "found weight columns only; name the column of the labels", label_column="kind")


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_a_missing_label_is_named(kind: pa.DataType) -> None:
    table = pa.concat_tables([labelled("a", "b", kind=kind), labelled("a", None, None, kind=kind)])
    refuses_table(table, f"column '{LABEL}'; found 2 missing, the first in row 3; label these")


def test_a_missing_integer_is_named() -> None:
    refuses_table(labelled(1, None, 2), "found 1 missing, the first in row 1;")


def test_a_missing_label_is_named_by_its_row_in_a_view() -> None:
    refuses_table(labelled(None, "a", "b", "c"), "found 1 missing, the first in row 2;", [3, 1, 0])


def test_a_missing_label_that_a_view_leaves_out_is_no_matter() -> None:
    assert zoo_of(labelled(None, "a", "b"), [2, 1]).classes == ["a", "b"]


def test_labels_that_are_all_missing_are_refused() -> None:
    refuses_table(labelled(None, None), "found 2 missing, the first in row 0;")


def test_an_empty_label_is_named() -> None:
    refuses_table(labelled("a", "b", "", "c"), "found an empty label in row 2; label these")


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([0.0, 1.0], pa.float64()), ([[1], [2]], pa.list_(pa.int64())), ([b"a", b"b"], pa.binary())],
    ids=["floats", "lists", "bytes"],
)
def test_labels_of_another_type_are_refused(labels: list[Any], kind: pa.DataType) -> None:
    refuses_table(labelled(*labels, kind=kind), f"one string, integer or ClassLabel per adapter .*; found type {kind}")


def test_an_integer_beyond_int64_is_refused() -> None:
    refuses_table(labelled(1, 2**63, kind=pa.uint64()), f"column '{LABEL}'; found .*{2**63}.* not in range")


@pytest.mark.parametrize("number", [-1, 3])
def test_a_class_label_without_a_name_is_named(class_labels: Any, number: int) -> None:
    # -1 is what data sets of the Hub give to test rows whose label is kept secret; `datasets` itself refuses a 3.
    column = pa.chunked_array([[0, 1], [number, 2]], pa.int64())
    table = class_labels.data.table.drop_columns([LABEL]).append_column(LABEL, column)
    table = table.replace_schema_metadata(class_labels.features.arrow_schema.metadata)
    refuses_table(table, f"found {number} in row 2 of 3 classes; label these")


def test_damaged_strings_are_refused_before_they_are_followed() -> None:
    offsets = np.array([0, 1, 2], np.int32)
    labels = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(b"ab")])
    offsets[1] = 1 << 30
    refuses_table(table_of({DOWN: lists(GOOD, GOOD)}, labels), f"column '{LABEL}'; found damaged values .*; write or fetch")


def test_a_null_in_a_dictionary_is_a_missing_label() -> None:
    labels = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array(["a", None]))
    refuses_table(table_of({DOWN: lists(*[GOOD] * 3)}, labels), "found 1 missing, the first in row 1;")


def test_labels_in_runs_are_labels() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["b", "a"]))
    zoo = zoo_of(table_of({DOWN: lists(*[GOOD] * 3)}, runs))
    assert (zoo.classes, zoo.labels.tolist()) == (["a", "b"], [1, 1, 0])


def test_a_label_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = labelled("a", "b").append_column(LABEL, pa.array(["c", "d"]))
    refuses_table(table, "one column 'category_label'; found 2 of this name; rename or remove the others")
    pq.write_table(table, tmp_path / "zoo.parquet")
    refuses(tmp_path, "found 2 of this name")
