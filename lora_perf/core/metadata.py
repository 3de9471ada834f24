"""What a source says of its adapters beside weights and labels: columns of plain values, made plain when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.rows import Indices
from lora_perf.core.tables import Table
from lora_perf.core.text import counted

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10  # adapters of a table in a notebook


@dataclass(frozen=True, slots=True)
class Skipped:
    """An adapter file that could not be used: its path in the folder, and why."""

    path: str
    reason: str


class Column:
    """One value an adapter, kept as the source has them until they are used.

    Args:
        raw: a sequence, or what becomes a list by its `to_pylist` (Arrow) or `tolist` (NumPy, torch, pandas).
        rows: which of these are meant, in which order; all by default.
    """

    def __init__(self, raw: Any, rows: Indices | None = None) -> None:
        self.raw = raw
        self._rows = rows
        self._values: list[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"raw": self.raw, "_rows": self._rows, "_values": None}

    def __len__(self) -> int:
        return len(self.raw) if self._rows is None else len(self._rows)

    def values(self) -> list[Any]:
        """(n) plain values of Python; they are kept."""
        if self._values is None:
            whole = _plain(self.raw)
            self._values = whole if self._rows is None else [whole[row] for row in self._rows.tolist()]
        return self._values

    def select(self, rows: Indices) -> Column:
        return Column(self.raw, rows if self._rows is None else self._rows[rows])


class Later:
    """The n values of a column, which a function gives when they are used; one of a module, so that they can be pickled."""

    def __init__(self, n: int, values: Callable[[], list[Any]]) -> None:
        self._n = n
        self.tolist = values

    def __len__(self) -> int:
        return self._n


def row_names(rows: Indices) -> Column:
    """What adapters without names are called: by their rows."""
    return Column(Later(len(rows), partial(_row_names, rows)))


def _row_names(rows: Indices) -> list[Any]:
    return [f"row {row}" for row in rows.tolist()]


def named(given: Column | None, n: int) -> Column:
    """The names of n adapters: those given, or their rows."""
    return row_names(np.arange(n)) if given is None else given


def _plain(raw: Any) -> list[Any]:
    for name in ("to_pylist", "tolist"):
        if hasattr(raw, name):
            values: list[Any] = getattr(raw, name)()
            return values
    return [value.item() if isinstance(value, np.generic) else value for value in raw]


class Metadata(Mapping[str, list[Any]]):
    """A table with one row an adapter: what the source says beside weights, labels and split.

    Args:
        columns: by name, one value an adapter each: lists, arrays of NumPy or Arrow, tensors.
        n: the number of adapters, for a table without columns.

    Raises:
        LoraPerfError: columns of other lengths.

    >>> table = Metadata({"num_images": np.array([5, 8, 6]), "base": ["sd-1.5"] * 3})
    >>> table["num_images"], list(table), len(table)
    ([5, 8, 6], ['num_images', 'base'], 2)
    >>> table.row(1)
    {'num_images': 8, 'base': 'sd-1.5'}
    """

    def __init__(self, columns: Mapping[str, Any] | None = None, n: int | None = None) -> None:
        given = {} if columns is None else dict(columns)  # a DataFrame has no truth of its own
        made = {str(name): one if isinstance(one, Column) else Column(one) for name, one in given.items()}
        self.n = n if n is not None else len(next(iter(made.values()), ()))
        wrong = [f"{len(one):,} in {name}" for name, one in made.items() if len(one) != self.n]
        if wrong:
            raise LoraPerfError(
                expected=f"one value an adapter ({self.n:,}) in each column of metadata",
                found=listed(wrong, 3),
                fix="give each adapter its value, None where there is none",
            )
        self.columns = made

    def __getitem__(self, name: str) -> list[Any]:
        """(n) the values of a column, plain values of Python."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r} in the metadata ({listed(self.columns) or 'there is none'})")
        return self.columns[name].values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        """The number of columns, as that of any mapping; `n` is that of adapters."""
        return len(self.columns)

    def __repr__(self) -> str:
        return f"Metadata({counted(self.n, 'adapter')}, {counted(len(self), 'column')}{': ' * bool(self)}{listed(self)})"

    def _repr_html_(self) -> str:
        rows = [tuple(map(str, (i, *self.row(i).values()))) for i in range(min(self.n, _SHOWN))]
        return Table(repr(self), ("row", *self), rows).html()

    def row(self, i: int) -> dict[str, Any]:
        """All that is said of one adapter."""
        return {name: column.values()[i] for name, column in self.columns.items()}

    def select(self, rows: Sequence[int] | Indices) -> Metadata:
        """The table of some adapters; no value is made plain."""
        numbers = np.asarray(rows, np.int64)
        return Metadata({name: column.select(numbers) for name, column in self.columns.items()}, len(numbers))

    def to_frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """The table as a DataFrame of pandas, with the names of the adapters as its index where they are given.

        >>> Metadata({"num_images": [5, 8]}).to_frame(["a", "b"])["num_images"].to_dict()
        {'a': 5, 'b': 8}
        """
        import pandas as pd

        return pd.DataFrame(dict(self), index=range(self.n) if names is None else pd.Index(list(names), name="adapter"))
