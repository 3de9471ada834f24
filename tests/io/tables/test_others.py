"""Columns that are no weights and no labels: what of them are metadata, and what names adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.core.target import target_of
from tests.io.tables.forms import adapters

N = 6
TAGS = [["ink", "dog"], [], ["dog"], None, ["ink"], ["dog"]]
TEXT = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))


def forms(kind: pa.DataType) -> list[pa.DataType]:
    return [pa.list_(kind), pa.large_list(kind)]


def beside(column: pa.Array, name: str = "tags") -> pa.Table:
    return adapters(N).append_column(name, column)


@pytest.mark.parametrize("kind", [form for kind in TEXT for form in forms(kind)], ids=str)
def test_lists_of_texts_are_several_labels(kind: pa.DataType, tmp_path: Path) -> None:
    table = beside(pa.array(TAGS, kind))
    pq.write_table(table, tmp_path / "a.parquet")
    for source in (table, tmp_path):
        zoo = lora_perf.load(source)
        assert zoo.metadata["tags"] == TAGS
        packed = lora_perf.load(zoo.save(tmp_path / "packed" / "zoo.safetensors"))
        assert packed.metadata["tags"] == TAGS
        target = target_of(zoo.select([0, 1, 2, 4, 5]), "tags")
        assert (target.task, target.names) == ("several", ("dog", "ink"))
        assert target.values.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("kind", [form for kind in (pa.int16(), pa.uint32(), pa.int64()) for form in forms(kind)], ids=str)
def test_lists_of_whole_numbers_too(kind: pa.DataType) -> None:
    numbers = [[3, 1], [], [1], [3], [1], [1]]
    zoo = lora_perf.load(beside(pa.array(numbers, kind)))
    assert zoo.metadata["tags"] == numbers
    assert target_of(zoo, "tags").names == ("1", "3")


def test_lists_of_class_labels_are_their_names(tmp_path: Path) -> None:
    data = datasets.Dataset(adapters(N)).add_column("tags", [[1, 0], [], [1], [0], [1], [1]])
    data = data.cast_column("tags", datasets.List(datasets.ClassLabel(names=["ink", "dog"])))
    data.save_to_disk(tmp_path / "saved")
    data.to_parquet(tmp_path / "one.parquet")
    for source in (data, tmp_path / "saved", tmp_path / "one.parquet", data.data.table):
        found = lora_perf.load(source).metadata["tags"]
        assert found == [["dog", "ink"], [], ["dog"], ["ink"], ["dog"], ["dog"]]
    shown = lora_perf.load(data.select([3, 0]))
    assert shown.metadata["tags"] == [["ink"], ["dog", "ink"]]


NESTED: dict[str, Any] = {
    "numbers": pa.array([[0.5]] * N),
    "bytes of weights": pa.array([[1, 2]] * N, pa.list_(pa.int8())),
    "lists of lists": pa.array([[["dog"]]] * N),
    "structs": pa.array([{"dog": 1}] * N),
}


@pytest.mark.parametrize("column", NESTED.values(), ids=NESTED)
def test_what_else_is_nested_is_left_out(column: pa.Array) -> None:
    assert list(lora_perf.load(beside(column)).metadata) == []


def test_a_column_of_lists_names_no_adapter() -> None:
    table = beside(pa.array([["a"], ["b"], ["a"], ["c"], ["d"], ["e"]]), "name")
    assert lora_perf.load(table).names == [f"row {i}" for i in range(N)]
