"""What calls of datasets are: columns and rows made to objects, by which form, and how many values."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

from lora_perf.diagnose.watching.files import Files
from lora_perf.diagnose.watching.wraps import Call, Told, Wraps


def wrap_datasets(wraps: Wraps, files: Files) -> None:
    """Wraps the reading of rows and columns of a `datasets.Dataset`."""
    import datasets
    from datasets.arrow_dataset import Column

    for kind in (datasets.Dataset, Column):
        wraps.replace(kind, "__getitem__", _item(wraps, kind.__getitem__))
        wraps.replace(kind, "__iter__", _iterator(wraps, kind.__iter__))
    wraps.call(datasets.Dataset, "to_pandas", _frame)
    files.reads(wraps, datasets, "load_from_disk")


def _item(wraps: Wraps, original: Any) -> Any:
    @functools.wraps(original)
    def got(self: Any, key: Any) -> Any:
        if isinstance(key, str) or (place := wraps.ledger.place()) is None:
            return original(self, key)
        data, names = _columns_of(self)
        by_row = _is_row(key)

        def size(_: Any) -> Told:
            values, nbytes, nested = _size_of(data, names, 1 if by_row else _rows_of(key, len(data)))
            what = None if by_row else (data._fingerprint, tuple(names)[:4], _shown(key))
            return _kind(data, nested, by_row), values, nbytes, what

        return wraps.ledger.call(place, lambda: original(self, key), size)

    return got


def _iterator(wraps: Wraps, original: Any) -> Any:
    @functools.wraps(original)
    def items(self: Any) -> Any:
        place = wraps.ledger.place()
        if place is None:
            return original(self)
        data, names = _columns_of(self)
        values, nbytes, nested = _size_of(data, names, 1)
        what = (data._fingerprint, tuple(names)[:4], "all")
        return wraps.ledger.iterated(place, _kind(data, nested, True), iter(original(self)), lambda _: (values, nbytes), what)

    return items


def _is_row(key: Any) -> bool:
    """Whether a key is the number of a row, NumPy's included."""
    try:
        operator.index(key)
    except TypeError:
        return False
    return True


def _rows_of(key: Any, rows: int) -> int:
    return len(range(*key.indices(rows))) if isinstance(key, slice) else len(key)


def _frame(call: Call) -> Told:
    data, names = _columns_of(call.args[0])
    values, nbytes, nested = _size_of(data, names, len(data))
    return ("objects of pandas", values, nbytes, None) if nested else None


def _columns_of(thing: Any) -> tuple[Any, list[str]]:
    """The data set behind a data set or a column of it, and the columns that are read."""
    names: list[str] | None = None
    while hasattr(thing, "column_name"):
        names, thing = [thing.column_name], thing.source
    return thing, names if names is not None and names[0] in thing.column_names else list(thing.column_names)


_widths: dict[tuple[str, str], tuple[int, int, bool]] = {}


def _width(data: Any, name: str) -> tuple[int, int, bool]:
    """Values and bytes of a row of a column, the lists' own offsets left out, and whether it is nested."""
    import pyarrow as pa

    key = data._fingerprint, name
    if key not in _widths:
        column = data.data.table.column(name)
        nested = pa.types.is_nested(column.type) or isinstance(column.type, pa.ExtensionType)
        flat = [_flat(chunk) for chunk in column.chunks]
        rows = max(1, len(column))
        _widths[key] = sum(map(len, flat)) // rows, sum(int(one.nbytes) for one in flat) // rows, nested
    return _widths[key]


def _flat(values: Any) -> Any:
    """The values of an array of Arrow of lists in lists."""
    import pyarrow as pa

    while True:
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        elif isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            values = values.flatten()
        else:
            return values


def _size_of(data: Any, names: Sequence[str], rows: int) -> tuple[int, int, bool]:
    """Values and bytes of some rows of columns, and whether some column is nested."""
    told = [_width(data, name) for name in names]
    return rows * sum(one for one, _, _ in told), rows * sum(one for _, one, _ in told), any(nested for _, _, nested in told)


def _kind(data: Any, nested: bool, by_row: bool) -> str:
    if not nested:
        return "flat column"
    form = data.format["type"]
    if form in ("torch", "numpy"):
        return f"{form} formatter"
    if form is not None:
        return "flat column"
    return "row by row" if by_row else "column to lists"


def _shown(key: Any) -> str:
    return str(key) if isinstance(key, slice) else f"{len(key)} rows"
