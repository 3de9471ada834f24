"""Rows of tables and data sets: chunks, slices, indices mappings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from tests.io.checks import labels, refuses
from tests.io.tables.forms import (
    DOWN,
    GOOD,
    KINDS,
    LABEL,
    READERS,
    UP,
    Reader,
    assert_rows,
    chunked,
    lists,
    nested,
    normal,
    python_rows,
    refuses_table,
    table_of,
    zoo_of,
)

N = 23
COLUMNS = (DOWN, UP)
# What `datasets` leaves behind as an indices mapping, and its neighbours without one.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda data: data,
    "a contiguous selection": lambda data: data.select(range(4, 17)),
    "a selection": lambda data: data.select([5, 3, 22, 4]),
    "runs of a selection": lambda data: data.select([5, 6, 7, 8, 9, 1, 2, 3, 20, 21, 22]),
    "a backward selection": lambda data: data.select(range(22, 3, -1)),
    "a range in another order": lambda data: data.select([4, 6, 5, 7]),
    "repeated rows": lambda data: data.select([2, 2, 9, 2, 9, 9, 0]),
    "the last row": lambda data: data.select([N - 1]),
    "a shuffled data set": lambda data: data.shuffle(seed=1),
    "a selection of a shuffled data set": lambda data: data.shuffle(seed=1).select([3, 0, 3, 11]),
    "a contiguous selection of a shuffled data set": lambda data: data.shuffle(seed=1).select(range(3, 9)),
    "a train part": lambda data: data.train_test_split(test_size=0.3, seed=42)["train"],
    "a test part of a test part": lambda data: data.train_test_split(test_size=0.6, seed=42)["test"].train_test_split(
        test_size=0.67, seed=42
    )["test"],
    "a filtered data set": lambda data: data.filter(lambda label: label != "class 1", input_columns=LABEL),
    "a shard": lambda data: data.shard(3, 1, contiguous=False),
    "a flattened view": lambda data: data.shuffle(seed=1).flatten_indices(),
    "a data set of other columns": lambda data: data.select_columns([LABEL, UP]),
    "a formatted data set": lambda data: data.with_format("torch"),
    "a data set twice": lambda data: datasets.concatenate_datasets([data, data]),
    "views side by side": lambda data: datasets.concatenate_datasets([data.select([1, 4, 2]), data.shuffle(seed=2)]),
}


@pytest.fixture(scope="module")
def data() -> Any:
    """A data set of 23 adapters in uneven chunks, among them empty ones."""
    down, up = nested(normal(N, 2, 3), ("list", "list")), nested(normal(N, 4, 2, seed=1), ("list", "list"))
    cuts = [0, 1, 6, 6, 13, 23]
    return datasets.Dataset(table_of({DOWN: chunked(down, cuts), UP: chunked(up, cuts)}))


# Views of data sets


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_view_gives_the_rows_and_labels_of_datasets(data: Any, view: Callable[[Any], Any]) -> None:
    seen = view(data)
    zoo = lora_perf.load(seen)
    assert_rows(zoo, python_rows(seen))
    assert labels(zoo) == list(seen[LABEL])


def test_data_sets_joined_column_by_column_are_rows_of_one_matrix(data: Any) -> None:
    parts = datasets.concatenate_datasets([data.select_columns([DOWN]).select(range(a, b)) for a, b in ((0, 8), (8, N))])
    joined = datasets.concatenate_datasets([parts, data.select_columns([UP, LABEL])], axis=1)
    assert_rows(lora_perf.load(joined), python_rows(joined))


def test_the_layers_stand_in_the_order_of_the_columns(data: Any) -> None:
    assert [layer.name for layer in lora_perf.load(data.select_columns([UP, LABEL, DOWN])).layout] == [UP, DOWN]


def test_other_columns_are_left_alone(data: Any) -> None:
    wider = data.add_column("step_loss", [0.5] * N).add_column("weights", [[1.0]] * N)
    assert_rows(lora_perf.load(wider), python_rows(data))


def test_a_saved_and_sharded_view_gives_its_rows(data: Any, tmp_path: Path) -> None:
    seen = data.shuffle(seed=3).select(range(20))
    seen.save_to_disk(tmp_path / "zoo", num_shards=4)
    assert_rows(lora_perf.load(tmp_path / "zoo"), python_rows(seen))


def test_a_mapped_data_set_gives_its_rows(data: Any) -> None:
    doubled = data.map(lambda row: {UP: [[2 * x for x in values] for values in row[UP]]}, writer_batch_size=5)
    assert_rows(lora_perf.load(doubled), python_rows(doubled, [DOWN, UP]))


# All of it at once


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[int] | None]:
    """A table of one to three columns in any form and chunking, and perhaps the indices of a view of it."""
    n = draw(st.integers(1, 12))
    columns = {}
    for i in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=len(shape), max_size=len(shape)))
        dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
        array = nested(normal(n, *shape, dtype=dtype, seed=i), kinds, junk=draw(st.booleans()))
        columns[f"m{i}.lora.{draw(st.sampled_from(['down', 'up']))}.weight"] = chunked(
            array, draw(st.lists(st.integers(0, n), max_size=4))
        )
    first = draw(st.integers(0, n - 1))
    table = table_of(columns).slice(first)
    rows = st.integers(0, table.num_rows - 1)
    runs = st.builds(lambda a, b: list(range(min(a, b), max(a, b) + 1)), rows, rows)
    return table, draw(st.none() | runs | st.lists(rows, min_size=1, max_size=15) | st.permutations(range(table.num_rows)))


@settings(max_examples=150)
@given(case=tables(), step=st.integers(1, 16))
def test_blocks_of_any_size_of_any_table_are_the_values_of_python(case: tuple[pa.Table, list[int] | None], step: int) -> None:
    table, indices = case
    expected = python_rows(table)[slice(None) if indices is None else indices]
    zoo = zoo_of(table, indices)
    done = 0
    for rows, block in zoo.blocks(nbytes=step * 4 * zoo.layout.p):
        assert rows.start == done
        assert len(block) <= step
        assert_array_equal(block.numpy(), expected[rows], strict=True)
        done = rows.stop
    assert done == len(expected)
    assert_array_equal(zoo.rows.numpy(), expected, strict=True)


@given(data=st.data())
def test_any_stretch_of_rows_is_read_alone(data: st.DataObject) -> None:
    table, indices = data.draw(tables())
    expected = python_rows(table)[slice(None) if indices is None else indices]
    start = data.draw(st.integers(0, len(expected) - 1))
    stop = data.draw(st.integers(start + 1, len(expected)))
    zoo = zoo_of(table, indices)
    out = np.full((stop - start, zoo.layout.p), np.nan, np.float32)
    zoo.source.read(start, stop, out)
    assert_array_equal(out, expected[start:stop])


# Faults and views

FAULTS: dict[str, Any] = {
    "null": None,
    "null inside": [[1.0, None], [3.0, 4.0]],
    "other shape": [[1.0, 2.0]],
    "other shape of one size": [[1.0], [2.0, 3.0, 4.0]],
    "empty": [],
}


@pytest.mark.parametrize("cuts", [[], [2], [2, 3], [0, 2, 2, 5]], ids=str)
@pytest.mark.parametrize("bad", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_in_a_row_that_a_view_leaves_out_is_no_matter(bad: Any, cuts: list[int]) -> None:
    table = table_of(
        {DOWN: chunked(lists([[1.0, 2.0], [3.0, 5.0]], GOOD, bad, GOOD, GOOD, GOOD, bad), cuts), UP: lists(*[GOOD] * 7)}
    )
    chosen = [4, 0, 5, 0, 1]
    assert_rows(zoo_of(table, chosen), python_rows(table.take(chosen)))


def test_a_fault_in_the_first_row_that_a_view_or_a_filter_leaves_out_is_no_matter() -> None:
    table = table_of({DOWN: lists(None, GOOD, [[5.0, 6.0], [7.0, 8.0]])})
    assert_rows(zoo_of(table, [2, 1]), python_rows(table.take([2, 1])))
    seen = datasets.Dataset(table).filter(lambda value: value is not None, input_columns=DOWN)
    assert_rows(lora_perf.load(seen), python_rows(seen))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("bad", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("cuts", [[], [3], [4], [2, 5]], ids=str)
def test_a_fault_is_named_by_its_row_in_the_view(bad: Any, cuts: list[int], reader: Reader) -> None:
    table = table_of({DOWN: chunked(lists(GOOD, GOOD, GOOD, bad, GOOD, GOOD, None), cuts)})
    with pytest.raises(LoraPerfError, match=f"column {DOWN}; found .* in row 2;"):
        reader(zoo_of(table, [5, 0, 3, 1, 3]))


def test_threads_may_read_at_once_while_the_rows_are_checked() -> None:
    rows = [[[float(i), 2.0], [3.0, 4.0]] for i in range(200)]
    table = table_of({DOWN: chunked(lists(*rows[:150], None, *rows[150:]), [60, 120])})
    chosen = [*range(150), *range(151, 201)]
    expected = python_rows(table.take(chosen))
    for _ in range(20):
        zoo = zoo_of(table, chosen)

        def read(start: int, zoo: Zoo = zoo) -> NDArray[np.float32]:
            out = np.empty((10, zoo.layout.p), np.float32)
            zoo.source.read(start, start + 10, out)
            return out

        with ThreadPoolExecutor(4) as pool:
            assert_array_equal(np.concatenate(list(pool.map(read, range(0, 200, 10)))), expected)


# Refused tables

REFUSED: dict[str, tuple[pa.Table, str]] = {
    "no weight columns": (
        table_of({"text": ["a", "b"]}),
        r"weight columns such as .*; found only text, category_label; .*LoRA adapters",
    ),
    "no columns": (pa.table({}), "found only no columns;"),
    "a column twice": (
        pa.table([lists(GOOD), lists(GOOD), pa.array(["a"])], names=[DOWN, DOWN, LABEL]),
        f"different names; found {DOWN} repeated; remove",
    ),
}


@pytest.mark.parametrize(("table", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_without_factors_of_their_own_names_is_refused(table: pa.Table, message: str) -> None:
    refuses_table(table, message)


def test_a_data_set_or_a_view_without_rows_is_refused(data: Any) -> None:
    for empty in (datasets.Dataset(table_of({DOWN: lists(GOOD)}).slice(0, 0)), data.select([])):
        refuses(empty, "at least one adapter; found a data set without rows")
