"""Arrow's nested columns as matrices: views of the value buffers, no value is touched.

A column of matrices is a list of lists of floats in one of many forms (List, LargeList, FixedSizeList, ListView, the
extensions Array2D and fixed_shape_tensor; any offset into shared buffers). Where each row has the same shape, its values
stand side by side in one buffer, and the column is that buffer seen as (rows, size). Only list views may stand in any order,
and are then gathered; a permuted tensor is put into its logical order row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError

# By the id of a type, which is a number: hashing types themselves takes longer than checking a column of few rows.
_LEAVES: dict[int, np.dtype[np.floating[Any]]] = {
    pa.float16().id: np.dtype(np.float16),
    pa.float32().id: np.dtype(np.float32),
    pa.float64().id: np.dtype(np.float64),
}
_FIXED, _LARGE = pa.list_(pa.null(), 1).id, pa.large_list(pa.null()).id
_OFFSETS: dict[int, np.dtype[Any]] = {_LARGE: np.dtype(np.int64), pa.list_(pa.null()).id: np.dtype(np.int32)}
_VIEWS: dict[int, np.dtype[Any]] = {
    pa.list_view(pa.null()).id: np.dtype(np.int32),
    pa.large_list_view(pa.null()).id: np.dtype(np.int64),
}
_PIECE = 1 << 14  # offsets compared at a time, so that they and their differences stay in a core's first caches


def is_nested_float(kind: pa.DataType) -> bool:
    """Whether a column type is a list, at any depth, of floating-point numbers."""
    depth = 0
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif kind.id == _FIXED or kind.id in _OFFSETS or kind.id in _VIEWS:
            kind = kind.value_type
            depth += 1
        else:
            return depth > 0 and kind.id in _LEAVES


class Reordered:
    """(rows, size) values that are put in another order of columns when rows are taken, by a slice or an index vector."""

    def __init__(self, values: NDArray[Any], order: NDArray[np.int64]) -> None:
        self._values = values
        self._order = order

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        return np.take(self._values[rows], self._order, axis=1)


# What rows are taken from, by a slice or an index vector.
Matrix: TypeAlias = NDArray[Any] | Reordered


class NestedChunk:
    """One chunk of one column; nothing of it is read before `matrix`.

    Args:
        name: of the column, for messages.
        array: the chunk, of at least one row.
        numbers: of its rows in the data set, for messages; negative for a row that the data set leaves out.
        shape: of every row; that of the first one where it is None.
    """

    def __init__(
        self, name: str, array: pa.Array, numbers: Sequence[int] | NDArray[np.int64], shape: tuple[int, ...] | None
    ) -> None:
        self.rows = len(array)
        self._name = name
        self._array = array
        self._numbers = numbers
        self._shape = shape
        self._matrix: Matrix | None = None

    def matrix(self) -> Matrix:
        """(rows, size) view of the values, to be indexed by rows; a copy where a row that is left out is at fault, and of
        list views that stand in another order than their rows.

        Cost: the first call compares all offsets with their neighbours, 4 bytes a list.

        Raises:
            LoraPerfError: a null, an empty list, rows of different shapes, or damaged buffers.
        """
        if self._matrix is None:
            self._refuse_damage()
            try:
                self._matrix = self._values()[0]
            except LoraPerfError:
                repaired = self._without_rows_left_out()
                if repaired is None:
                    raise
                self._matrix = repaired.matrix()
        return self._matrix

    def row_shape(self) -> tuple[int, ...]:
        """The shape of each row."""
        self._refuse_damage()
        return self._values()[1]

    def _values(self) -> tuple[Matrix, tuple[int, ...]]:
        array = self._array
        start, length = 0, self.rows  # the part of `array` that belongs to this chunk, level by level
        shape: list[int] = []
        items = 1  # of the present level in one row
        order: NDArray[np.int64] | None = None  # of the values of a row, where their logical order is another
        while True:
            if isinstance(array, pa.ExtensionArray):
                tensor = array.type if isinstance(array.type, pa.FixedShapeTensorType) else None
                array = array.storage
                if tensor is not None:
                    self._refuse_nulls(array, start, length, items)
                    axes, order = _logical(tensor, shape)
                    for level, size in enumerate(axes, start=len(shape)):
                        self._size(level, size)
                    size = prod(axes)
                    start, length = (array.offset + start) * size, length * size
                    shape += axes
                    items *= size
                    array = array.values
                    continue
            self._refuse_nulls(array, start, length, items)
            kind, begin = array.type, array.offset + start
            code = kind.id
            if code in _LEAVES:
                if self._shape is not None and len(shape) != len(self._shape):
                    raise self._misshapen(0)
                values = _view(array, _LEAVES[code])[begin : begin + length].reshape(self.rows, items)
                return values if order is None else Reordered(values, order), tuple(shape)
            if code in _VIEWS:
                array, begin, size = self._viewed(array, begin, length, len(shape), items)
                start, length = begin, length * size
                shape.append(size)
                items *= size
                continue
            offsets = None if code == _FIXED else _view(array, _OFFSETS[code])[begin : begin + length + 1]
            found = kind.list_size if offsets is None else int(offsets[1] - offsets[0])
            size = self._size(len(shape), found)
            if offsets is None:
                start, length = begin * size, length * size
            else:
                self._check(offsets, size, items)
                start, length = int(offsets[0]), length * size
            shape.append(size)
            items *= size
            array = array.values

    def _viewed(self, array: pa.Array, begin: int, length: int, level: int, items: int) -> tuple[pa.Array, int, int]:
        """The values of list views in the order of the lists, where they begin, and the length of each list.

        A copy where the lists overlap, leave gaps or stand in another order.
        """
        dtype = _VIEWS[array.type.id]
        offsets = _view(array, dtype)[begin : begin + length].astype(np.int64)
        sizes = _view(array, dtype, 2)[begin : begin + length]
        size = self._size(level, int(sizes[0]))
        same = sizes == size
        if not same.all():
            raise self._misshapen(int(np.argmin(same)) // items)
        values = array.values
        if int(offsets.min()) < 0 or int(offsets.max()) + size > len(values):
            raise self._damaged("list views that lie outside of their values")
        if (np.diff(offsets) == size).all():
            # Offsets count from where the values begin, also where those are a slice of their own.
            return values, int(offsets[0]), size
        places = (offsets[:, None] + np.arange(size)).ravel()
        return values.take(pa.array(places)), 0, size

    def _size(self, level: int, found: int) -> int:
        """The length that all lists of a level must have."""
        if self._shape is not None and (level >= len(self._shape) or self._shape[level] != found):
            raise self._misshapen(0)
        if found < 1:
            raise self._misshapen(0)
        return found

    def _check(self, offsets: NDArray[Any], size: int, lists_a_row: int) -> None:
        if _is_regular(offsets, size):
            return
        for begin in range(0, len(offsets) - 1, _PIECE):
            piece = offsets[begin : begin + _PIECE + 1]
            same = np.equal(piece[1:] - piece[:-1], size)
            if not same.all():
                raise self._misshapen((begin + int(np.argmin(same))) // lists_a_row)

    def _refuse_damage(self) -> None:
        try:
            self._array.validate()  # looks at the sizes of buffers only; what lies beyond them must not be touched
        except pa.ArrowInvalid as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, found: str) -> LoraPerfError:
        numbers = [number for number in self._numbers if number >= 0]
        return LoraPerfError(
            expected=f"an undamaged column {self._name}",
            found=f"{found}, in rows {min(numbers)} to {max(numbers)}",
            fix="write or fetch the data set again",
        )

    def _misshapen(self, row: int) -> LoraPerfError:
        return LoraPerfError(
            expected=f"matrices of one shape, and none empty, in column {self._name}",
            found=f"another shape (or an empty one) in row {self._numbers[row]}",
            fix="leave the row out, or load adapters of different shapes as separate zoos",
        )

    def _refuse_nulls(self, array: pa.Array, start: int, length: int, items: int) -> None:
        if array.null_count == 0:
            return
        missing = np.flatnonzero(array.slice(start, length).is_null().to_numpy(zero_copy_only=False))
        if len(missing):
            raise LoraPerfError(
                expected=f"a number in every place of column {self._name}",
                found=f"a null in row {self._numbers[int(missing[0]) // items]}",
                fix="leave the row out or fill the value",
            )

    def _without_rows_left_out(self) -> NestedChunk | None:
        """The chunk with a row of the data set in the place of each that it leaves out; None where it leaves out none."""
        numbers = np.asarray(self._numbers)
        used = np.flatnonzero(numbers >= 0)
        if len(used) == self.rows:
            return None
        source = np.where(numbers >= 0, np.arange(self.rows), used[0])
        return NestedChunk(self._name, self._array.take(pa.array(source)), numbers[source], self._shape)


# Multiples of a size from 0 on, by size and type. Few enough to stay in a cache; longer offsets are checked piece by piece.
_MULTIPLES: dict[tuple[int, np.dtype[Any]], NDArray[Any]] = {}
_MOST_MULTIPLES = 1 << 20


def _is_regular(offsets: NDArray[Any], size: int) -> bool:
    """Whether offsets are 0, size, 2 size, ..., as one comparison of bytes; False also where that is not for it to say."""
    count = len(offsets)
    if count > _MOST_MULTIPLES or count * size > np.iinfo(offsets.dtype).max:
        return False
    multiples = _MULTIPLES.get((size, offsets.dtype))
    if multiples is None or len(multiples) < count:
        multiples = np.arange(max(count, 1024), dtype=offsets.dtype) * offsets.dtype.type(size)
        _MULTIPLES[size, offsets.dtype] = multiples
    same: bool = pa.py_buffer(offsets).equals(pa.py_buffer(multiples[:count]))
    return same


def _logical(tensor: pa.FixedShapeTensorType, before: list[int]) -> tuple[list[int], NDArray[np.int64] | None]:
    """The logical axes of a tensor below axes `before`, and the order of the values of a row where it is another than theirs.

    Axis i of the logical tensor is axis `permutation[i]` of the one that is stored.
    """
    stored, permutation = [int(size) for size in tensor.shape], tensor.permutation
    if permutation is None or list(permutation) == sorted(permutation):
        return stored, None
    places = np.arange(prod(before) * prod(stored)).reshape(*before, *stored)
    axes = [*range(len(before)), *(len(before) + axis for axis in permutation)]
    return [stored[axis] for axis in permutation], places.transpose(axes).ravel()


def _view(array: pa.Array, dtype: np.dtype[Any], place: int = 1) -> NDArray[Any]:
    """A buffer of an array (offsets or values, then sizes), which may be longer than a multiple of its items."""
    buffer = array.buffers()[place]
    return np.frombuffer(buffer, dtype, buffer.size // dtype.itemsize)
