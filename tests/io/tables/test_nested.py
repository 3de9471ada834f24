"""Columns of every Arrow form: what they hold, and what is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.tables.forms import (
    DOWN,
    GOOD,
    KINDS,
    LABEL,
    NESTED,
    READERS,
    UP,
    Kind,
    Reader,
    assert_rows,
    chunked,
    lists,
    nested,
    normal,
    python_rows,
    table_of,
    zoo_of,
)

RAGGED = {
    "of the same size": [[1.0], [2.0, 3.0, 4.0]],
    "of another size": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "with wider rows": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    "that is transposed": [[1.0, 2.0, 3.0, 4.0]],
    "that is empty": [],
    "with an empty row": [[1.0, 2.0], []],
    "of empty rows": [[], []],
}
HOLED = {"row": None, "inner list": [[1.0, 2.0], None], "leaf": [[1.0, None], [3.0, 4.0]]}
TYPES = {
    "list": NESTED,
    "large list": pa.large_list(pa.large_list(pa.float32())),
    "fixed-size list": pa.list_(pa.list_(pa.float32(), 2), 2),
    "list of fixed-size lists": pa.list_(pa.list_(pa.float32(), 2)),
    "fixed-size list of lists": pa.list_(pa.list_(pa.float32()), 2),
    "list of doubles": pa.list_(pa.list_(pa.float64())),
}


def array_2d(storage: pa.Array, shape: tuple[int, int]) -> pa.Array:
    """An array of the Array2D type of `datasets` around lists of lists."""
    kind = datasets.features.features.Array2DExtensionType(shape, "float32")
    return pa.ExtensionArray.from_storage(kind, storage)


# Values


@pytest.mark.parametrize("junk", [False, True], ids=["whole", "sliced at every level"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kinds", list(product(KINDS, KINDS)), ids="-of-".join)
def test_every_nesting_gives_the_values_of_python(kinds: tuple[Kind, Kind], dtype: str, junk: bool) -> None:
    table = table_of({DOWN: nested(normal(7, 2, 3, dtype=dtype), kinds, junk=junk)})
    assert_rows(zoo_of(table), python_rows(table))


@pytest.mark.parametrize("junk", [False, True], ids=["whole", "sliced at every level"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_matrices_of_rank_one(kind: Kind, junk: bool) -> None:
    table = table_of({DOWN: nested(normal(5, 6), [kind], junk=junk), UP: nested(normal(5, 4), [kind], junk=junk)})
    zoo = zoo_of(table)
    assert [layer.shape for layer in zoo.layout] == [(1, 6), (4, 1)]
    assert_rows(zoo, python_rows(table))


@pytest.mark.parametrize("junk", [False, True], ids=["whole", "sliced at every level"])
@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3, 1, 1), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_are_flattened(kind: Kind, shape: tuple[int, ...], junk: bool) -> None:
    table = table_of({DOWN: nested(normal(5, *shape), [kind] * len(shape), junk=junk)})
    zoo = zoo_of(table)
    assert zoo.layout[DOWN].shape == (2, np.prod(shape[1:]))
    assert_rows(zoo, python_rows(table))


@pytest.mark.parametrize("start", [0, 1, 8], ids=lambda start: f"from row {start}")
@pytest.mark.parametrize("junk", [False, True], ids=["whole", "sliced at every level"])
@pytest.mark.parametrize(
    "kinds", [("list", "list"), ("fixed", "fixed"), ("list", "fixed"), ("fixed", "large")], ids="-of-".join
)
def test_a_sliced_table_gives_its_own_rows(kinds: tuple[Kind, Kind], junk: bool, start: int) -> None:
    table = table_of({DOWN: nested(normal(19, 2, 3), kinds, junk=junk)}).slice(start, 11)
    assert_rows(zoo_of(table), python_rows(table))


def test_a_sliced_extension_array_gives_its_own_rows() -> None:
    values = normal(9, 2, 3)
    table = table_of({DOWN: array_2d(nested(values, ("list", "list"), junk=True), (2, 3)).slice(2, 5)})
    assert_rows(zoo_of(table), values[2:7].reshape(5, 6))


@pytest.mark.parametrize(
    ("feature", "shape"),
    [
        (datasets.List(datasets.List(datasets.Value("float32"))), (2, 3)),
        (datasets.List(datasets.List(datasets.Value("float16"))), (2, 3)),
        (datasets.LargeList(datasets.LargeList(datasets.Value("float64"))), (2, 3)),
        (datasets.List(datasets.List(datasets.Value("float32"), length=3), length=2), (2, 3)),
        (datasets.List(datasets.List(datasets.Value("float32"), length=3)), (2, 3)),
        (datasets.List(datasets.LargeList(datasets.Value("float32")), length=2), (2, 3)),
        (datasets.List(datasets.Value("float32"), length=3), (3,)),
        (datasets.Array2D((2, 3), "float32"), (2, 3)),
        (datasets.Array2D((None, 3), "float32"), (2, 3)),
        (datasets.Array2D((2, 3), "float16"), (2, 3)),
        (datasets.Array2D((2, 3), "float64"), (2, 3)),
        (datasets.Array3D((2, 3, 2), "float32"), (2, 3, 2)),
        (datasets.Array4D((2, 3, 1, 1), "float32"), (2, 3, 1, 1)),
        (datasets.Array5D((2, 1, 1, 2, 2), "float32"), (2, 1, 1, 2, 2)),
    ],
    ids=str,
)
def test_every_feature_of_datasets_gives_its_values(feature: Any, shape: tuple[int, ...]) -> None:
    values = normal(6, *shape).astype(np.float16)  # exact in every float
    features = datasets.Features({DOWN: feature, LABEL: datasets.Value("string")})
    data = datasets.Dataset.from_dict({DOWN: values.tolist(), LABEL: list("abcabc")}, features=features)
    assert_rows(lora_perf.load(data), python_rows(data))
    assert_rows(lora_perf.load(data), values.reshape(6, -1).astype(np.float32))


def test_a_double_beyond_float32_becomes_infinite() -> None:
    table = table_of({DOWN: lists([[1e300, -1e300]], kind=pa.list_(pa.list_(pa.float64())))})
    np.testing.assert_array_equal(zoo_of(table).rows.numpy(), np.array([[np.inf, -np.inf]], np.float32))


def test_a_nan_is_a_value() -> None:
    np.testing.assert_array_equal(zoo_of(table_of({DOWN: lists([[np.nan, 1.0]])})).rows.numpy(), [[np.nan, 1.0]])


# Refused shapes


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("bad", RAGGED.values(), ids=RAGGED.keys())
@pytest.mark.parametrize("cuts", [[], [3], [4], [2, 5]], ids=str)
def test_a_matrix_of_another_shape_is_named(bad: list[list[float]], cuts: list[int], reader: Reader) -> None:
    good = lists(*[GOOD] * 7)
    table = table_of({UP: good, DOWN: chunked(lists(GOOD, GOOD, GOOD, bad, GOOD, GOOD, GOOD), cuts)})
    with pytest.raises(LoraPerfError, match=rf"one shape.*column {DOWN}; found another shape .* in row 3;"):
        reader(zoo_of(table))


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_fault_is_named_by_its_row_in_a_slice_and_in_the_first_row(reader: Reader) -> None:
    table = table_of({DOWN: lists(GOOD, GOOD, GOOD, RAGGED["of the same size"], GOOD)}).slice(1)
    with pytest.raises(LoraPerfError, match=r"another shape .* in row 2;"):
        reader(zoo_of(table))
    with pytest.raises(LoraPerfError, match=f"column {DOWN}; found a null in row 0;"):
        reader(zoo_of(table_of({DOWN: lists(None, GOOD)})))


def test_chunks_of_other_sizes_of_one_fixed_size_list_are_told_apart_inside() -> None:
    kind = pa.list_(pa.list_(pa.float32()), 2)
    table = table_of({DOWN: lists(GOOD, GOOD, [[1.0], [2.0]], kind=kind)})
    with pytest.raises(LoraPerfError, match=r"another shape .* in row 2;"):
        _ = zoo_of(table).rows


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32(), 0),
        pa.list_(pa.list_(pa.float32()), 0),
        pa.list_(pa.list_(pa.float32(), 0)),
        pa.list_(pa.list_(pa.float32())),
        pa.list_(pa.float32()),
    ],
    ids=str,
)
def test_empty_matrices_are_refused(kind: pa.DataType) -> None:
    rows = [[[]], [[]]] if kind == pa.list_(pa.list_(pa.float32(), 0)) else [[], []]
    with pytest.raises(LoraPerfError, match=f"none empty, in column {DOWN}; .* in row 0;"):
        _ = zoo_of(table_of({DOWN: lists(*rows, kind=kind)})).rows


# Refused nulls


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("bad", HOLED.values(), ids=HOLED.keys())
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES.keys())
def test_a_null_is_named_at_every_level(kind: pa.DataType, bad: Any, reader: Reader) -> None:
    rows = chunked(lists(*[GOOD] * 4, bad, GOOD, bad, kind=kind), [2, 2, 5])
    with pytest.raises(LoraPerfError, match=rf"a number in every place of column {UP}; found a null in row 4;"):
        reader(zoo_of(table_of({DOWN: lists(*[GOOD] * 7), UP: rows})))


@pytest.mark.parametrize("bad", HOLED.values(), ids=HOLED.keys())
@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES.keys())
def test_a_null_outside_of_a_slice_is_no_matter_and_one_inside_is_named_by_its_row_there(kind: pa.DataType, bad: Any) -> None:
    table = table_of({DOWN: lists(bad, *[GOOD] * 9, bad, GOOD, kind=kind)})
    assert_rows(zoo_of(table.slice(1, 9)), python_rows(table.slice(1, 9)))
    with pytest.raises(LoraPerfError, match="a null in row 7;"):
        _ = zoo_of(table.slice(3)).rows


@pytest.mark.parametrize("bad", HOLED.values(), ids=HOLED.keys())
def test_a_null_in_an_extension_array_is_named(bad: Any) -> None:
    table = table_of({DOWN: array_2d(lists(bad, GOOD, GOOD, bad, GOOD), (2, 2)).slice(1)})
    with pytest.raises(LoraPerfError, match="a null in row 2;"):
        _ = zoo_of(table).rows


# Refused types


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (["abc", "def"], pa.string()),
        ([1, 2], pa.int64()),
        ([1.0, 2.0], pa.float32()),
        ([[["a"]], [["b"]]], pa.list_(pa.list_(pa.string()))),
        ([[[1]], [[2]]], pa.list_(pa.list_(pa.int32()))),
        ([{"a": 1.0}] * 2, pa.struct({"a": pa.float32()})),
        ([[None], [None]], pa.list_(pa.null())),
        ([None, None], pa.null()),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_a_weight_column_of_another_type_is_named(rows: list[Any], kind: pa.DataType) -> None:
    with pytest.raises(LoraPerfError, match=rf"lists of float16, float32 or float64 in column {UP}; found type ") as caught:
        zoo_of(table_of({DOWN: lists(GOOD, GOOD), UP: pa.array(rows, kind)}))
    assert str(kind) in str(caught.value)


# Damage


def test_a_column_whose_buffers_are_too_short_is_refused_before_it_is_touched() -> None:
    offsets = np.array([0, 2, 4, 6], np.int32)
    leaves = pa.array([1.0] * 6, pa.float32())
    array = pa.Array.from_buffers(pa.list_(pa.float32()), 3, [None, pa.py_buffer(offsets)], children=[leaves])
    zoo = zoo_of(table_of({DOWN: array}))
    offsets[3] = 400_000_000
    with pytest.raises(LoraPerfError, match=rf"undamaged column {DOWN}; found .* in rows 0 to 2; write or fetch"):
        _ = zoo.rows


def test_a_buffer_of_odd_length_is_read() -> None:
    leaves = pa.Array.from_buffers(pa.float32(), 4, [None, pa.py_buffer(np.arange(4, dtype=np.float32).tobytes() + b"xyz")])
    offsets = pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes() + b"x")
    array = pa.Array.from_buffers(pa.list_(pa.float32()), 2, [None, offsets], children=[leaves])
    assert_rows(zoo_of(table_of({DOWN: array})), np.array([[0, 1], [2, 3]], np.float32))
