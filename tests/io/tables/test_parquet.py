"""Folders of parquet shards."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.checks import refuses
from tests.io.tables.forms import (
    DOWN,
    GOOD,
    KINDS,
    LABEL,
    READERS,
    UP,
    Kind,
    Reader,
    assert_rows,
    lists,
    nested,
    normal,
    python_rows,
    table_of,
)

N = 23


def adapters(n: int = N, *, kinds: tuple[Kind, Kind] = ("list", "list"), dtype: str = "float32", seed: int = 0) -> pa.Table:
    down = nested(normal(n, 2, 3, dtype=dtype, seed=seed), kinds)
    return table_of({DOWN: down, UP: nested(normal(n, 4, 2, dtype=dtype, seed=seed + 1), kinds)})


def write(folder: Path, table: pa.Table, *bounds: int, rows: int = 1000) -> Path:
    """The table as shards that end at `bounds`, in row groups of `rows` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = [0, *bounds, table.num_rows]
    for i, (a, b) in enumerate(pairwise(edges)):
        pq.write_table(table.slice(a, b - a), folder / f"part-{i:05d}.parquet", row_group_size=rows)
    return folder


# Values


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize("inner", KINDS)
def test_every_nesting_gives_the_values_of_python(tmp_path: Path, outer: Kind, inner: Kind, dtype: str) -> None:
    table = adapters(kinds=(outer, inner), dtype=dtype)
    assert_rows(lora_perf.load(write(tmp_path, table, 9, rows=4)), python_rows(table))


def test_an_array2d_column_gives_its_values(tmp_path: Path) -> None:
    features = datasets.Features({DOWN: datasets.Array2D((2, 3), "float32"), LABEL: datasets.Value("string")})
    data = datasets.Dataset.from_dict({DOWN: normal(5, 2, 3).tolist(), LABEL: list("abcab")}, features=features)
    data.to_parquet(tmp_path / "zoo.parquet")
    assert_rows(lora_perf.load(tmp_path / "zoo.parquet"), python_rows(data))


def test_vectors_and_convolutions_are_matrices(tmp_path: Path) -> None:
    down, up = nested(normal(5, 3), ["list"]), nested(normal(5, 4, 1, 1, 1), ["list"] * 4)
    table = table_of({DOWN: down, UP: up})
    zoo = lora_perf.load(write(tmp_path, table, rows=2))
    assert [layer.shape for layer in zoo.layout] == [(1, 3), (4, 1)]
    assert_rows(zoo, python_rows(table))


@settings(max_examples=40)
@given(data=st.data(), group=st.integers(1, 9), step=st.integers(1, 12))
def test_blocks_of_any_size_of_any_shards_are_the_values_of_python(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, group: int, step: int
) -> None:
    table = adapters(14)
    bounds = sorted(data.draw(st.lists(st.integers(0, 14), max_size=3)))
    zoo = lora_perf.load(write(tmp_path_factory.mktemp("zoo"), table, *bounds, rows=group))
    expected = python_rows(table)
    for rows, block in zoo.blocks(nbytes=step * 4 * zoo.layout.p):
        assert_array_equal(block.numpy(), expected[rows], strict=True)
    start = data.draw(st.integers(0, 13))
    stop = data.draw(st.integers(start + 1, 14))
    out = np.full((stop - start, zoo.layout.p), np.nan, np.float32)
    zoo.source.read(start, stop, out)
    assert_array_equal(out, expected[start:stop])
    assert_array_equal(zoo.rows.numpy(), expected, strict=True)


def test_shards_of_other_types_are_rows_of_one_matrix(tmp_path: Path) -> None:
    first, second = adapters(5), adapters(4, kinds=("fixed", "large"), dtype="float64", seed=8)
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(second, tmp_path / "b.parquet")
    assert_rows(lora_perf.load(tmp_path), np.concatenate([python_rows(first), python_rows(second)]))


def test_shards_may_order_their_columns_as_they_like(tmp_path: Path) -> None:
    table = adapters()
    pq.write_table(table.slice(0, 9), tmp_path / "a.parquet")
    pq.write_table(table.slice(9).select([LABEL, UP, DOWN]), tmp_path / "b.parquet")
    assert_rows(lora_perf.load(tmp_path), python_rows(table))


def test_a_column_whose_name_begins_like_a_weight_is_left_alone(tmp_path: Path) -> None:
    table = adapters()
    pq.write_table(table.add_column(0, f"{DOWN}.note", pa.array(range(N))), tmp_path / "zoo.parquet")
    assert_rows(lora_perf.load(tmp_path), python_rows(table))


def test_a_double_beyond_float32_becomes_infinite(tmp_path: Path) -> None:
    pq.write_table(table_of({DOWN: lists([[1e300, 1.0]], kind=pa.list_(pa.list_(pa.float64())))}), tmp_path / "zoo.parquet")
    assert_array_equal(lora_perf.load(tmp_path).rows.numpy(), np.array([[np.inf, 1.0]], np.float32), strict=True)


def test_labels_of_many_shards_are_joined(tmp_path: Path) -> None:
    table = adapters()
    zoo = lora_perf.load(write(tmp_path, table, 4, 11, rows=3))
    assert [zoo.classes[label] for label in zoo.labels] == table.column(LABEL).to_pylist()


def test_dictionaries_that_differ_from_shard_to_shard_are_joined(tmp_path: Path) -> None:
    weights = lists(GOOD, GOOD)
    for name, labels in (("a", ["fox", "ant"]), ("b", ["bee", "fox"])):
        pq.write_table(table_of({DOWN: weights}, pa.array(labels).dictionary_encode()), tmp_path / f"{name}.parquet")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["ant", "bee", "fox"], [2, 0, 1, 2])


def test_a_row_group_stands_still_while_it_is_copied(tmp_path: Path) -> None:
    # Blocks that are smaller than a row group share the group that was decoded last.
    table = adapters(16)
    zoo = lora_perf.load(write(tmp_path, table, rows=8))
    other = threading.Thread(target=zoo.source.read, args=(8, 12, np.empty((4, zoo.layout.p), np.float32)))

    class Interrupted(np.ndarray):
        """Lets another thread read the other group, if it can, before anything is copied into this one."""

        def __array_function__(self, *call: Any) -> Any:
            other.start()
            other.join(0.3)
            return super().__array_function__(*call)

    out = np.empty((4, zoo.layout.p), np.float32).view(Interrupted)
    zoo.source.read(0, 4, out)
    other.join()
    assert_array_equal(out.view(np.ndarray), python_rows(table)[:4])


def test_threads_may_read_other_row_groups_at_once(tmp_path: Path) -> None:
    values = normal(64, 2, 20_000)
    table = table_of({DOWN: nested(values, ("list", "list"))})
    zoo, expected = lora_perf.load(write(tmp_path, table, 24, rows=8)), values.reshape(64, -1)
    wrong: list[object] = []

    def read(seed: int) -> None:
        out = np.empty((7, zoo.layout.p), np.float32)
        try:
            for start in np.random.default_rng(seed).integers(0, 64 - 7, 60).tolist():
                zoo.source.read(start, start + 7, out)
                if not np.array_equal(out, expected[start : start + 7]):
                    wrong.append(start)
        except Exception as error:  # an exception in a thread would pass unseen
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Refused shards


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (None, "a null"),
        ([[1.0, None], [3.0, 4.0]], "a null"),
        ([[1.0], [2.0, 3.0, 4.0]], "another shape"),
        ([[1.0, 2.0]], "another shape"),
        ([], "another shape"),
    ],
    ids=["null", "null inside", "other shape of one size", "other shape", "empty"],
)
@pytest.mark.parametrize(("bounds", "rows"), [((), 1000), ((), 3), ((5,), 1000), ((6,), 3), ((4,), 2)], ids=str)
def test_a_fault_is_named_by_its_row_in_the_zoo(
    tmp_path: Path, bounds: tuple[int, ...], rows: int, bad: Any, found: str, reader: Reader
) -> None:
    table = table_of({DOWN: lists(*[GOOD] * 8), UP: lists(*[GOOD] * 6, bad, GOOD)})
    with pytest.raises(LoraPerfError, match=rf"column {UP}; found {found}.* in row 6;"):
        reader(lora_perf.load(write(tmp_path, table, *bounds, rows=rows)))


def test_a_fault_in_the_first_row_is_named(tmp_path: Path) -> None:
    refuses(write(tmp_path, table_of({DOWN: lists(None, GOOD)}), rows=1), f"column {DOWN}; found a null in row 0;")


def test_shards_of_other_weight_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(adapters(), tmp_path / "a.parquet")
    pq.write_table(adapters().drop_columns([UP]), tmp_path / "b.parquet")
    refuses(tmp_path, r"the weight columns of a\.parquet in every shard; found others in b\.parquet")


def test_a_shard_without_weight_columns_names_those_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    refuses(tmp_path, r"weight columns such as .*found only text;")


def test_a_weight_column_of_another_type_in_a_later_shard_is_named(tmp_path: Path) -> None:
    pq.write_table(table_of({DOWN: lists(GOOD)}), tmp_path / "a.parquet")
    pq.write_table(table_of({DOWN: pa.array(["x"])}), tmp_path / "b.parquet")
    refuses(tmp_path, f"in column {DOWN}; found type string")


def test_labels_of_mixed_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(table_of({DOWN: lists(GOOD)}, ["a"]), tmp_path / "a.parquet")
    pq.write_table(table_of({DOWN: lists(GOOD)}, [1]), tmp_path / "b.parquet")
    refuses(tmp_path, r"found mixed labels: names in a\.parquet, numbers without names in b\.parquet")


@pytest.mark.parametrize("shard", ["a", "b"])
def test_a_label_column_that_one_shard_lacks_is_missing(tmp_path: Path, shard: str) -> None:
    for name in ("a", "b"):
        table = adapters(2).append_column("note", pa.array(["x", "y"]))
        pq.write_table(table.drop_columns([LABEL]) if name == shard else table, tmp_path / f"{name}.parquet")
    refuses(tmp_path, "a label column 'category_label'; found the columns note;")


def test_a_missing_label_is_named_by_its_row_in_the_zoo(tmp_path: Path) -> None:
    table = table_of({DOWN: lists(*[GOOD] * 6)}, ["a", "b", "a", "b", None, "a"])
    refuses(write(tmp_path, table, 3), "found 1 missing, the first in row 4;")


def test_shards_without_rows_are_refused(tmp_path: Path) -> None:
    refuses(write(tmp_path, adapters().slice(0, 0), 0), "at least one adapter; found parquet shards without rows")


def test_empty_shards_among_others_are_no_matter(tmp_path: Path) -> None:
    table = adapters()
    assert_rows(lora_perf.load(write(tmp_path, table, 0, 8, 8)), python_rows(table))


@pytest.mark.parametrize("size", [0, 3, 1000, -1])
def test_a_truncated_shard_is_named(tmp_path: Path, size: int) -> None:
    write(tmp_path, adapters(), 9)
    shard = tmp_path / "part-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:size])
    refuses(tmp_path, r"a whole parquet file at .*part-00001\.parquet; found .+; write or fetch it again")


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_shard_of_damaged_pages_is_named(tmp_path: Path, reader: Reader) -> None:
    write(tmp_path, adapters(), 9)
    shard = tmp_path / "part-00001.parquet"
    column = pq.ParquetFile(shard).metadata.row_group(0).column(0)
    content = bytearray(shard.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    shard.write_bytes(content)
    with pytest.raises(
        LoraPerfError, match=r"a whole parquet file at .*part-00001\.parquet; found .+; write or fetch it again"
    ):
        reader(lora_perf.load(tmp_path))


def test_a_file_that_was_written_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo.parquet"
    pq.write_table(adapters(4), path)
    zoo = lora_perf.load(path)
    pq.write_table(adapters(4, seed=9), path)
    with pytest.raises(
        LoraPerfError, match=r"the table that was opened at .*zoo\.parquet; found another one, written since; load"
    ):
        _ = zoo.rows


def test_a_file_that_is_away_when_rows_are_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "zoo.parquet"
    pq.write_table(adapters(4), path)
    zoo = lora_perf.load(path)
    path.unlink()
    with pytest.raises(LoraPerfError, match=r"a whole parquet file at .*zoo\.parquet; found .*No such file"):
        list(zoo.blocks())
