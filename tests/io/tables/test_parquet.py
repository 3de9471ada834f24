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


def array_2d() -> pa.Table:
    features = datasets.Features({DOWN: datasets.Array2D((2, 3), "float32"), LABEL: datasets.Value("string")})
    data = datasets.Dataset.from_dict({DOWN: normal(5, 2, 3).tolist(), LABEL: list("abcab")}, features=features)
    return data.data.table


TABLE = adapters()
SHARDS: dict[str, list[pa.Table]] = {
    "Array2D": [array_2d()],
    "vectors and convolutions": [
        table_of({DOWN: nested(normal(5, 3), ["list"]), UP: nested(normal(5, 4, 1, 1, 1), ["list"] * 4)})
    ],
    "a double beyond float32": [table_of({DOWN: lists([[1e300, 1.0]], kind=pa.list_(pa.list_(pa.float64())))})],
    "a name that begins like a weight": [TABLE.add_column(0, f"{DOWN}.note", pa.array(range(N)))],
    "other types": [adapters(5), adapters(4, kinds=("fixed", "large"), dtype="float64", seed=8)],
    "empty shards": [TABLE.slice(0, 0), TABLE.slice(0, 8), TABLE.slice(0, 0), TABLE.slice(8)],
    "columns in another order": [TABLE.slice(0, 9), TABLE.slice(9).select([LABEL, UP, DOWN])],
}


def write_shards(folder: Path, tables: list[pa.Table]) -> Path:
    for name, table in zip("abcd", tables, strict=False):
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=2)
    return folder


@pytest.mark.parametrize("tables", SHARDS.values(), ids=SHARDS.keys())
def test_shards_of_any_form_are_rows_of_one_matrix(tables: list[pa.Table], tmp_path: Path) -> None:
    names = [name for name in (DOWN, UP) if name in tables[0].column_names]
    with np.errstate(over="ignore"):
        expected = np.concatenate([python_rows(table, names) for table in tables if len(table)])
    assert_rows(lora_perf.load(write_shards(tmp_path, tables)), expected)


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


def test_labels_of_many_shards_are_joined(tmp_path: Path) -> None:
    table = adapters()
    zoo = lora_perf.load(write(tmp_path, table, 4, 11, rows=3))
    assert [zoo.classes[label] for label in zoo.labels] == table.column(LABEL).to_pylist()


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


FOX = table_of({DOWN: lists(GOOD)}, ["a"])
REFUSED: dict[str, tuple[list[pa.Table], str]] = {
    "a null in the first row": ([table_of({DOWN: lists(None, GOOD)})], f"column {DOWN}; found a null in row 0;"),
    "other weight columns": (
        [TABLE, TABLE.drop_columns([UP])],
        r"the weight columns of a\.parquet in every shard; found others in b\.parquet",
    ),
    "no weight columns": ([pa.table({"text": ["a"]})], r"weight columns such as .*found only text;"),
    "another type later": ([FOX, table_of({DOWN: pa.array(["x"])})], f"in column {DOWN}; found type string"),
    "mixed labels": (
        [FOX, table_of({DOWN: lists(GOOD)}, [1])],
        r"found mixed labels: names in a\.parquet, numbers without names in b\.parquet",
    ),
    **{
        f"no label column in shard {i}": (
            [
                table.append_column("note", pa.array(["x"] * len(table))).drop_columns([LABEL] if i == k else [])
                for k, table in enumerate((TABLE, TABLE))
            ],
            "a label column 'category_label'; found the columns note;",
        )
        for i in range(2)
    },
    "a missing label": (
        [table_of({DOWN: lists(*[GOOD] * 3)}, labels) for labels in (["a", "b", "a"], ["b", None, "a"])],
        "found 1 missing, the first in row 4;",
    ),
    "no rows": ([TABLE.slice(0, 0)] * 2, "at least one adapter; found parquet shards without rows"),
}


@pytest.mark.parametrize(("tables", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_shards_that_are_no_zoo_are_refused(tables: list[pa.Table], message: str, tmp_path: Path) -> None:
    refuses(write_shards(tmp_path, tables), message)


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
