"""List views, whose lists stand in any order, and tensors of a fixed shape, whose axes may: the values that they mean."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.tables.forms import DOWN, READERS, UP, Reader, assert_rows, chunked, nested, normal, python_rows, table_of, zoo_of

N = 7
VIEW = pa.list_view(pa.list_view(pa.float32()))


def views(offsets: list[int], sizes: list[int], values: pa.Array, *, large: bool = False) -> pa.Array:
    maker, kind = (pa.LargeListViewArray, pa.int64()) if large else (pa.ListViewArray, pa.int32())
    return maker.from_arrays(pa.array(offsets, kind), pa.array(sizes, kind), values)


@st.composite
def shuffled_views(draw: st.DrawFn) -> pa.Array:
    """Matrices (r, k) as list views of list views that overlap, leave gaps and stand in any order."""
    n, r, k = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pool = pa.array(normal(1, 20)[0])
    rows = draw(st.lists(st.integers(0, 20 - k), min_size=r + 2, max_size=8))
    inner = views(rows, [k] * len(rows), pool, large=draw(st.booleans()))
    starts = draw(st.lists(st.integers(0, len(rows) - r), min_size=n, max_size=n))
    return views(starts, [r] * n, inner, large=draw(st.booleans()))


@given(array=shuffled_views(), data=st.data())
def test_list_views_in_any_order_are_the_values_of_python(array: pa.Array, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(array) - 1))
    table = table_of({DOWN: chunked(array, data.draw(st.lists(st.integers(0, len(array)), max_size=2)))}).slice(first)
    assert_rows(zoo_of(table), python_rows(table))


def test_list_views_in_parquet_are_read(tmp_path: Path) -> None:
    table = table_of({DOWN: pa.array(normal(N, 2, 5).tolist(), VIEW), UP: nested(normal(N, 4, 2), ("list", "list"))})
    try:
        pq.write_table(table, tmp_path / "zoo.parquet", row_group_size=3)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"pyarrow {pa.__version__} writes no such file: {error}")
    assert_rows(lora_perf.load(tmp_path / "zoo.parquet"), python_rows(table))


def test_list_views_follow_a_view_that_leaves_broken_rows_out() -> None:
    table = table_of({DOWN: pa.array([[[1.0, 2.0]], None, [[3.0, 4.0]], [[5.0]]], VIEW)})
    assert_array_equal(zoo_of(table, [2, 0]).rows.numpy(), np.array([[3, 4], [1, 2]], "float32"))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("bad", [None, [], [[1.0]], [[1.0, None]], [[1.0, 2.0], [3.0, 4.0]]], ids=str)
def test_a_fault_in_list_views_is_named_by_its_row(bad: object, reader: Reader) -> None:
    with pytest.raises(LoraPerfError, match=f"column {DOWN}; found .* in row 2;"):
        reader(zoo_of(table_of({DOWN: pa.array([[[1.0, 2.0]], [[3.0, 4.0]], bad], VIEW)})))


@pytest.mark.parametrize("offsets", [[0, 3], [0, -1], [0, 1 << 30]], ids=str)
def test_list_views_that_lie_outside_of_their_values_are_damage(offsets: list[int]) -> None:
    places, sizes = np.array(offsets, "int32"), np.array([2, 2], "int32")
    values = pa.array([1.0, 2, 3, 4], pa.float32())
    array = pa.Array.from_buffers(
        pa.list_view(pa.float32()), 2, [None, pa.py_buffer(places), pa.py_buffer(sizes)], children=[values]
    )
    with pytest.raises(LoraPerfError, match=f"an undamaged column {DOWN}; found .*, in rows 0 to 1"):
        _ = zoo_of(table_of({DOWN: array})).rows


# Tensors


def tensors(values: np.ndarray, permutation: tuple[int, ...] | None = None) -> pa.Array:
    """Logical values (n, *shape), stored in the order in which axis i of them is axis permutation[i] of what is stored."""
    order = permutation or tuple(range(values.ndim - 1))
    stored = np.moveaxis(values, range(1, values.ndim), [axis + 1 for axis in order])
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), stored.shape[1:], permutation=permutation)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), int(np.prod(stored.shape[1:])))
    return pa.ExtensionArray.from_storage(kind, lists)


def test_the_order_of_axes_is_that_of_the_specification() -> None:
    """Its example: stored as (100, 200, 500) with the permutation [2, 0, 1], a tensor is (500, 100, 200)."""
    kind = pa.fixed_shape_tensor(pa.float32(), (1, 2, 5), permutation=[2, 0, 1])
    stored = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10, dtype="float32")), 10)
    zoo = zoo_of(table_of({DOWN: pa.ExtensionArray.from_storage(kind, stored)}))
    assert zoo.layout.layers[0].shape == (5, 2)
    assert_array_equal(zoo.rows.numpy(), np.arange(10, dtype="float32").reshape(2, 5).T.reshape(1, 10))


@pytest.mark.parametrize("permutation", [None, (0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_tensor_has_its_logical_shape(permutation: tuple[int, ...] | None, dtype: str) -> None:
    down, up = normal(N, 2, 5, dtype=dtype), normal(N, 4, 2, dtype=dtype, seed=1)
    zoo = zoo_of(table_of({DOWN: chunked(tensors(down, permutation), [3]), UP: tensors(up, permutation)}), [5, 0, 6, 6])
    assert [layer.shape for layer in zoo.layout] == [(2, 5), (4, 2)]
    expected = np.concatenate([down.reshape(N, -1), up.reshape(N, -1)], axis=1).astype("float32")
    assert_rows(zoo, expected[[5, 0, 6, 6]])


@pytest.mark.parametrize("permutation", list(permutations(range(3))), ids=str)
def test_a_tensor_of_three_axes_is_put_into_its_logical_order(permutation: tuple[int, ...]) -> None:
    down = normal(N, 2, 3, 4)
    zoo = zoo_of(table_of({DOWN: tensors(down, permutation)}))
    assert zoo.layout.layers[0].shape == (2, 12)
    assert_rows(zoo, down.reshape(N, -1))


def test_tensors_in_parquet_keep_their_order(tmp_path: Path) -> None:
    down, up = normal(N, 2, 5), normal(N, 4, 2, seed=1)
    table = table_of({DOWN: tensors(down, (1, 0)), UP: tensors(up)})
    pq.write_table(table, tmp_path / "zoo.parquet", row_group_size=3)
    expected = np.concatenate([down.reshape(N, -1), up.reshape(N, -1)], axis=1)
    assert_rows(lora_perf.load(tmp_path / "zoo.parquet"), expected)


def test_a_missing_tensor_is_named_by_its_row() -> None:
    kind = pa.fixed_shape_tensor(pa.float32(), (1, 2))
    array = pa.ExtensionArray.from_storage(kind, pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)))
    with pytest.raises(LoraPerfError, match=f"column {DOWN}; found a null in row 1;"):
        _ = zoo_of(table_of({DOWN: array})).rows
