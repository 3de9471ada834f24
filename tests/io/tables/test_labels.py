"""Labels: what becomes a class, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
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

INTEGERS = (pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.dictionary(pa.int8(), pa.int64()))
FOXES = labelled("fox", "ant", "fox", "Bee")
DICTIONARY = pa.dictionary(pa.int8(), pa.string())
CLASSES: dict[str, tuple[pa.Table, list[str], list[int]]] = {
    **{
        f"texts of {kind}": (as_kind(labelled("fox", "ant", "fox", "Bee"), kind), ["Bee", "ant", "fox"], [2, 1, 2, 0])
        for kind in TEXTS
    },
    **{f"numbers of {kind}": (labelled(9, 100, 9, 3, kind=kind), ["3", "9", "100"], [1, 2, 1, 0]) for kind in INTEGERS},
    "negative integers": (labelled(1, -1, 1), ["-1", "1"], [1, 0, 1]),
    "booleans": (labelled(True, False, True), ["0", "1"], [1, 0, 1]),
    "one class": (labelled("fox", "fox"), ["fox"], [0, 0]),
    "many chunks": (
        pa.concat_tables([labelled("c", "a"), labelled("b"), labelled("a", "c")]),
        ["a", "b", "c"],
        [2, 0, 1, 0, 2],
    ),
    "dictionaries that differ from chunk to chunk": (
        pa.concat_tables([labelled("c", "a", kind=DICTIONARY), labelled("a", "b", kind=DICTIONARY)]),
        ["a", "b", "c"],
        [2, 0, 0, 1],
    ),
    "runs": (
        table_of(
            {DOWN: lists(*[GOOD] * 3)}, pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["b", "a"]))
        ),
        ["a", "b"],
        [1, 1, 0],
    ),
}


@pytest.mark.parametrize(("table", "classes", "labels"), CLASSES.values(), ids=CLASSES.keys())
def test_texts_and_numbers_are_classes_in_their_order(table: pa.Table, classes: list[str], labels: list[int]) -> None:
    zoo = zoo_of(table)
    assert zoo.classes == classes
    assert_array_equal(zoo.labels.numpy(), np.array(labels), strict=True)


def test_labels_follow_a_view() -> None:
    zoo = zoo_of(labelled("c", "a", "b", "c"), [3, 2, 2])
    assert (zoo.classes, zoo.labels.tolist()) == (["b", "c"], [1, 0, 0])
    assert zoo_of(labelled(None, "a", "b"), [2, 1]).classes == ["a", "b"]  # a missing one that the view leaves out


def on_disk(data: Any, folder: Path) -> Path:
    data.save_to_disk(folder / "zoo")
    return folder / "zoo"


def in_parquet(data: Any, folder: Path) -> Path:
    data.to_parquet(folder / "zoo.parquet")
    return folder / "zoo.parquet"


@pytest.mark.parametrize(
    "store",
    [lambda data, _: data, on_disk, in_parquet, lambda data, folder: lora_perf.pack(data, folder / "zoo.safetensors")],
    ids=["in memory", "on disk", "in parquet", "packed"],
)
def test_class_labels_keep_all_names_and_their_order(
    store: Callable[[Any, Path], Any], class_labels: Any, tmp_path: Path
) -> None:
    zoo = lora_perf.load(store(class_labels, tmp_path))
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [2, 0, 0, 2])


def test_class_labels_keep_their_names_in_a_view(class_labels: Any) -> None:
    zoo = lora_perf.load(class_labels.select([1, 0]))
    assert (zoo.classes, zoo.labels.tolist()) == (NAMES, [0, 2])


def test_a_column_cast_to_class_labels_has_their_names() -> None:
    zoo = lora_perf.load(datasets.Dataset(labelled("b", "a", "b")).class_encode_column(LABEL))
    assert (zoo.classes, zoo.labels.tolist()) == (["a", "b"], [1, 0, 1])


def test_another_column_can_hold_the_labels(tmp_path: Path) -> None:
    table = labelled("a", "b").append_column("style", pa.array(["oil", "ink"]))
    pq.write_table(table, tmp_path / "zoo.parquet")
    for source in (datasets.Dataset(table), tmp_path / "zoo.parquet"):
        zoo = lora_perf.load(source, label_column="style")
        assert (zoo.classes, zoo.labels.tolist()) == (["ink", "oil"], [1, 0])


# Refused labels


def test_a_missing_column_names_the_others() -> None:
    data = datasets.Dataset(pa.table({DOWN: lists(GOOD), "category_name": ["x"], "folder": ["y"]}))
    message = r"a label column 'kind'; found the columns category_name, folder; .*label_column="
    refuses(data, message, label_column="kind")
    message = "found weight columns only; name the column of the labels"
    refuses(pa.table({DOWN: lists(GOOD)}), message, label_column="kind")


def missing(kind: pa.DataType) -> pa.Table:
    return pa.concat_tables([labelled("a", "b", kind=kind), labelled("a", None, None, kind=kind)])


OF_COLUMN = f"column '{LABEL}'; found 2 missing, the first in row 3; label these"
OTHER_TYPE = "one string, integer or ClassLabel per adapter .*; found type "
REFUSED: dict[str, tuple[pa.Table, str]] = {
    "missing texts": (missing(pa.string()), OF_COLUMN),
    "missing texts in a dictionary": (missing(DICTIONARY), OF_COLUMN),
    "a missing integer": (labelled(1, None, 2), "found 1 missing, the first in row 1;"),
    "all missing": (labelled(None, None), "found 2 missing, the first in row 0;"),
    "an empty label": (labelled("a", "b", "", "c"), "found an empty label in row 2; label these"),
    "floats": (labelled(0.0, 1.0), f"{OTHER_TYPE}double"),
    "lists": (labelled([1], [2], kind=pa.list_(pa.int64())), f"{OTHER_TYPE}list<"),
    "bytes": (labelled(b"a", b"b"), f"{OTHER_TYPE}binary"),
    "an integer beyond int64": (labelled(1, 2**63, kind=pa.uint64()), f"column '{LABEL}'; found .*{2**63}.* not in range"),
    "a null in a dictionary": (
        table_of(
            {DOWN: lists(*[GOOD] * 3)}, pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), pa.array(["a", None]))
        ),
        "found 1 missing, the first in row 1;",
    ),
}


@pytest.mark.parametrize(("table", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_labels_that_are_none_are_refused(table: pa.Table, message: str) -> None:
    refuses_table(table, message)


def test_a_missing_label_is_named_by_its_row_in_a_view() -> None:
    refuses_table(labelled(None, "a", "b", "c"), "found 1 missing, the first in row 2;", [3, 1, 0])


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
    table = table_of({DOWN: lists(GOOD, GOOD)}, labels)
    refuses_table(table, f"column '{LABEL}'; found damaged values .*; write or fetch")


def test_a_label_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = labelled("a", "b").append_column(LABEL, pa.array(["c", "d"]))
    refuses_table(table, "one column 'category_label'; found 2 of this name; rename or remove the others")
    pq.write_table(table, tmp_path / "zoo.parquet")
    refuses(tmp_path, "found 2 of this name")
