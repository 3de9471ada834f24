"""Tables of nested columns in every form that Arrow has for them, and what their Python values say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io.tables.arrow import Part, zoo_of_parts
from lora_perf.io.tables.labels import label_names

DOWN = "unet.mid_block.attn1.to_q.lora.down.weight"
UP = "unet.mid_block.attn1.to_q.lora.up.weight"
LABEL = "category_label"
NESTED = pa.list_(pa.list_(pa.float32()))
GOOD = [[1.0, 2.0], [3.0, 4.0]]
# The forms in which Arrow stores texts.
TEXTS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int64(), pa.large_string()),
    pa.dictionary(pa.int8(), pa.string_view()),
]

Kind = Literal["list", "large", "fixed"]
KINDS: tuple[Kind, ...] = ("list", "large", "fixed")
Values = NDArray[np.floating]
Reader = Callable[[Zoo], object]

# A fault has to show however the rows are read.
READERS: dict[str, Reader] = {
    "rows": lambda zoo: zoo.rows,
    "blocks": lambda zoo: list(zoo.blocks()),
    "small blocks": lambda zoo: list(zoo.blocks(nbytes=1)),
}


def normal(n: int, *shape: int, dtype: str = "float32", seed: int = 0) -> Values:
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)


def nested(values: Values, kinds: Sequence[Kind], *, junk: bool = False) -> pa.Array:
    """Values (n, *shape) as lists of lists, one kind a level.

    With junk, the array of each level begins one item into its buffers and ends one before their end; the items
    outside of it are nulls.
    """
    count, pad = len(values), int(junk)
    padded = np.pad(values, [(pad, pad)] + [(0, 0)] * (values.ndim - 1), constant_values=7)
    mask = np.zeros(len(padded), bool)
    if junk:
        mask[[0, -1]] = True
    if values.ndim == 1:
        return pa.array(padded, mask=mask if junk else None).slice(pad, count)
    size = values.shape[1]
    child = nested(padded.reshape(-1, *values.shape[2:]), kinds[1:], junk=junk)
    nulls = pa.array(mask) if junk else None
    if kinds[0] == "fixed":
        array = pa.FixedSizeListArray.from_arrays(child, size, mask=nulls)
    else:
        offsets = np.arange(0, (len(padded) + 1) * size, size)
        large = kinds[0] == "large"
        maker = pa.LargeListArray if large else pa.ListArray
        array = maker.from_arrays(pa.array(offsets, pa.int64() if large else pa.int32()), child, mask=nulls)
    return array.slice(pad, count)


def chunked(array: pa.Array, cuts: Iterable[int]) -> pa.ChunkedArray:
    """The array in chunks that end at `cuts`; two equal cuts make an empty chunk."""
    bounds = [0, *sorted(cuts), len(array)]
    return pa.chunked_array([array.slice(a, b - a) for a, b in pairwise(bounds)], array.type)


def lists(*rows: Any, kind: pa.DataType = NESTED) -> pa.Array:
    return pa.array(rows, kind)


def table_of(columns: dict[str, Any], labels: Any = None) -> pa.Table:
    """A table of weight columns with a label column; a label for each row by default."""
    n = len(next(iter(columns.values())))
    return pa.table({**columns, LABEL: [f"class {i % 3}" for i in range(n)] if labels is None else labels})


def zoo_of(table: pa.Table, indices: Sequence[int] | None = None) -> Zoo:
    chosen = None if indices is None else np.asarray(indices, np.int64)
    part = Part(table, chosen, class_names=lambda column: label_names(table.schema, column))
    return zoo_of_parts([part], label_column=LABEL, name="table")


def refuses_table(table: pa.Table, message: str, indices: Sequence[int] | None = None) -> None:
    """No zoo is made of the table, and the error holds the message, a regular expression."""
    with pytest.raises(LoraPerfError, match=message):
        zoo_of(table, indices)


def python_rows(data: Any, columns: Sequence[str] = ()) -> NDArray[np.float32]:
    """The row matrix of a table or data set by way of Python lists."""
    names = columns or [name for name in data.column_names if name.endswith(".weight")]
    values = [
        data.column(name).to_pylist() if isinstance(data, pa.Table) else data.with_format(None)[name][:] for name in names
    ]
    return np.concatenate([np.array(value, np.float64).reshape(len(value), -1) for value in values], axis=1).astype(np.float32)


def assert_rows(zoo: Zoo, expected: Values) -> None:
    """The zoo has these rows, both as a whole and in blocks."""
    blocks = [(rows, block.numpy().copy()) for rows, block in zoo.blocks(nbytes=3 * 4 * zoo.layout.p)]
    assert_array_equal(np.concatenate([block for _, block in blocks]), expected, strict=True)
    assert [i for rows, _ in blocks for i in range(rows.start, rows.stop)] == list(range(len(expected)))
    assert_array_equal(zoo.rows.numpy(), expected, strict=True)


def adapters(n: int, seed: int = 0) -> pa.Table:
    """A table of nested lists: n adapters of a down (2, 3) and an up (4, 2)."""
    kinds = ("list", "list")
    return table_of({DOWN: nested(normal(n, 2, 3, seed=seed), kinds), UP: nested(normal(n, 4, 2, seed=seed + 1), kinds)})


def labelled(*labels: Any, kind: pa.DataType | None = None) -> pa.Table:
    return table_of({DOWN: lists(*[GOOD] * len(labels))}, pa.array(labels, kind))


def as_kind(table: pa.Table, kind: pa.DataType) -> pa.Table:
    """The table with its labels in another type; Arrow makes no dictionary of views itself."""
    labels = table.column(LABEL).combine_chunks()
    if pa.types.is_dictionary(kind):
        made = labels.dictionary_encode()
        indices, values = made.indices.cast(kind.index_type), made.dictionary.cast(kind.value_type)
        labels = pa.DictionaryArray.from_arrays(indices, values)
    else:
        labels = labels.cast(kind)
    return table.set_column(table.schema.get_field_index(LABEL), LABEL, labels)
