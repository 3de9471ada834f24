"""The ways to read columns: of a `datasets.Dataset`, and of tables in files of parquet and Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.diagnose.subject import Subject
from lora_perf.diagnose.ways.buffers import COLUMN_TENSOR, column_tensor, flat_tensor
from lora_perf.diagnose.ways.way import Values, Way


def of_dataset(subject: Subject) -> list[Way]:
    data = subject.data

    @lru_cache(maxsize=2)  # the choice of a sample is no part of its reading
    def chosen(n: int, columns: tuple[str, ...] | None) -> Any:
        some = data.select(range(n))
        return some if columns is None else some.select_columns(list(columns))

    def part(n: int, columns: Sequence[str] | None = None) -> Any:
        return chosen(n, None if columns is None else tuple(columns))

    def lists(n: int, columns: Sequence[str]) -> Values:
        some = part(n)
        return [torch.tensor(some[name][:]) for name in columns]

    def lazily(n: int, columns: Sequence[str]) -> Values:
        some = part(n)
        return [torch.tensor([one for one in some[name]]) for name in columns]  # noqa: C416 - as its users write it

    def stacked(n: int, columns: Sequence[str]) -> Values:
        some = part(n)
        return [torch.from_numpy(np.stack([np.array(one, np.float32) for one in some[name][:]])) for name in columns]

    def formatted(kind: str) -> Callable[[int, Sequence[str]], Values]:
        def call(n: int, columns: Sequence[str]) -> Values:
            some = part(n).with_format(kind)
            return [_tensor(some[name][:]) for name in columns]

        return call

    def iterated(n: int, _: Sequence[str]) -> Values:
        names = subject.columns
        return _by_column([[torch.tensor(row[name]) for name in names] for row in part(n)])

    def loaded(n: int, _: Sequence[str]) -> Values:
        some = part(n, subject.columns).with_format("torch")
        loader = torch.utils.data.DataLoader(some, batch_size=min(64, n))
        batches = [[_tensor(batch[name]) for name in subject.columns] for batch in loader]
        return [torch.cat(values) for values in zip(*batches, strict=True)]

    def frame(n: int, columns: Sequence[str]) -> Values:
        return _of_frame(part(n, columns).to_pandas(), columns)

    def flat(n: int, columns: Sequence[str]) -> Values:
        some = part(n)
        return [column_tensor(some, name) for name in columns]

    a_list = "each value becomes a Python float of 24 bytes in a list, and is read from there again"
    return [
        Way("torch.tensor(ds[column][:])", "torch.tensor(ds[column][:])", a_list, lists),
        Way(
            "torch.tensor of a lazy ds[column]", "torch.tensor([one for one in ds[column]])",
            f"{a_list}; and the formatter runs for every row", lazily,
        ),
        Way(
            "np.stack of ds[column][:]", "np.stack([np.array(one) for one in ds[column][:]])",
            f"{a_list}, once more for every adapter", stacked,
        ),
        Way(
            'ds.with_format("torch")[column]', 'ds.with_format("torch")[column][:]',
            "the formatter makes an object of each innermost list and stacks them, a kernel each", formatted("torch"),
        ),
        Way(
            'ds.with_format("numpy")[column]', 'ds.with_format("numpy")[column][:]',
            "the formatter makes an array of each innermost list and stacks them", formatted("numpy"),
        ),
        Way("for row in ds", "for row in ds:\n    torch.tensor(row[column])", f"{a_list}, row by row", iterated, by_rows=True),
        Way(
            'DataLoader(ds.with_format("torch"))', 'DataLoader(ds.with_format("torch"), batch_size=64)',
            "the formatter, row by row, and a stack of each batch", loaded, by_rows=True,
        ),
        Way(
            "ds.to_pandas()", "np.stack(ds.to_pandas()[column])",
            "a NumPy object for each innermost list, stacked again", frame,
        ),
        Way(
            "Arrow's buffers by hand", COLUMN_TENSOR.strip(),
            "the values as they lie, copied once into a tensor a column", flat,
        ),
    ]  # fmt: skip


def of_parquet(subject: Subject) -> list[Way]:
    import pyarrow.parquet as pq

    file = subject.files[0]

    def first(n: int, columns: Sequence[str]) -> Any:
        with pq.ParquetFile(file) as opened:
            return opened.read_row_group(0, columns=list(columns)).slice(0, n)

    read = "pandas.read_parquet"
    return _of_table(first, read, f"{read}(folder)", "pq.read_table(folder)", group_rows(file))


def group_rows(file: Any) -> int:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        return int(opened.metadata.row_group(0).num_rows)


def of_arrow(subject: Subject) -> list[Way]:
    import pyarrow as pa

    def first(n: int, columns: Sequence[str]) -> Any:
        with pa.memory_map(str(subject.files[0])) as source:
            try:
                table = pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                source.seek(0)
                table = pa.ipc.open_stream(source).read_all()
        return table.slice(0, n).select(list(columns))

    return _of_table(first, "pyarrow, to_pandas()", "table.to_pandas()", "table")


def _of_table(
    first: Callable[[int, Sequence[str]], Any], name: str, as_frame: str, as_table: str, most: int | None = None
) -> list[Way]:
    """The ways to read a table of Arrow.

    Args:
        first: some columns of its first rows.
        name: of the way by a data frame.
        as_frame, as_table: what its users write to get the one and the other.
        most: rows that `first` can give.
    """

    def frame(n: int, columns: Sequence[str]) -> Values:
        return _of_frame(first(n, columns).to_pandas(), columns)

    def lists(n: int, columns: Sequence[str]) -> Values:
        table = first(n, columns)
        return [torch.tensor(table.column(name).to_pylist()) for name in columns]

    def expected(n: int, columns: Sequence[str]) -> Values:
        table = first(n, columns)
        return [flat_tensor(table.column(name)) for name in columns]

    return [
        Way(
            name, f"np.stack({as_frame}[column])",
            "a NumPy object for each innermost list, stacked again", frame, expected=expected, most=most,
        ),
        Way(
            "pyarrow, to_pylist()", f"torch.tensor({as_table}[column].to_pylist())",
            "each value becomes a Python float of 24 bytes in a list", lists, expected=expected, most=most,
        ),
    ]  # fmt: skip


def _of_frame(frame: Any, columns: Sequence[str]) -> Values:
    return [torch.from_numpy(np.stack([_dense(one) for one in frame[name]])) for name in columns]


def _tensor(found: Any) -> Tensor:
    """What a formatter made of a column: a tensor, an array, or nested lists of them where shapes differ by its lights."""
    if isinstance(found, Tensor):
        return found.float()
    if isinstance(found, np.ndarray) and found.dtype != object:
        return torch.from_numpy(found)
    return torch.stack([_tensor(one) for one in found])


def _dense(nested: Any) -> Any:
    """Arrays of arrays as one array."""
    return np.stack([_dense(one) for one in nested]) if nested.dtype == object else nested


def _by_column(rows: Sequence[Sequence[Tensor]]) -> Values:
    return [torch.stack(list(values)) for values in zip(*rows, strict=True)]
