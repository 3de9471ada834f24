"""The ways in which people read a data set of adapters: the lines that they write, and the same as a call on a sample.

A way is given the first adapters and some weight columns (of files: all tensors) and makes what its user is after: torch
tensors. Each says why it costs what it costs; what it costs is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.zoo import Zoo
from lora_perf.diagnose.subject import Subject

Values = list[Tensor]  # of each column, (n, ...), or all values of the sample in some order


@dataclass(frozen=True)
class Way:
    """A way to read.

    Attributes:
        name: what its table calls it.
        code: the lines that its user writes.
        why: what it does to each value.
        call: (rows, columns) -> tensors; with `by_rows` all columns are read whatever is asked.
        by_rows: whether it reads whole adapters.
        by_column: whether its tensors are those of the columns that are asked for, in their order.
        expected: the same tensors by Arrow's buffers, where they are of columns.
        most: adapters that it can be given.
    """

    name: str
    code: str
    why: str
    call: Callable[[int, Sequence[str]], Values]
    by_rows: bool = False
    by_column: bool = True
    ours: bool = False
    expected: Callable[[int, Sequence[str]], Values] | None = None
    most: int | None = None


def ways_of(subject: Subject) -> list[Way]:
    """The ways to read a kind of data set, each in the words of its users."""
    of_kind = {
        "dataset": _of_dataset,
        "parquet": _of_parquet,
        "arrow": _of_arrow,
        "adapters": _of_adapters,
        "packed": _of_packed,
    }
    others = of_kind[subject.kind](subject) if subject.kind in of_kind else []
    return [*others, *_ours(subject)]


def _ours(subject: Subject) -> list[Way]:
    zoo = subject.zoo

    def some(n: int) -> Zoo:
        """The first adapters, of which the source has nothing decoded yet."""
        return Zoo(copy.copy(zoo.source), zoo.layout).select(range(n))

    def rows(n: int, _: Sequence[str]) -> Values:
        part = some(n)
        return [part.rows.clone() if part.source.mapped or part.in_memory else part.rows]

    def blocks(n: int, _: Sequence[str]) -> Values:
        return [block.sum() for _, block in some(n).blocks()]

    name = subject.source
    return [
        Way(
            "lora_perf: zoo.rows",
            f'zoo = lora_perf.load({name!r})\nrows = zoo.rows  # (n, p) float32, zoo.layer(NAME) is a view of it',
            "buffers are copied layer by layer into one matrix, nothing else is made",
            rows, by_rows=True, by_column=False, ours=True,
        ),
        Way(
            "lora_perf: zoo.blocks()",
            f"for rows, block in lora_perf.load({name!r}).blocks():\n    ...  # (b, p) in one buffer that is used again",
            "one block at a time in the same memory, however large the data set",
            blocks, by_rows=True, by_column=False, ours=True,
        ),
    ]  # fmt: skip


def _of_dataset(subject: Subject) -> list[Way]:
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
        table = part(n, columns).to_pandas()
        return [torch.from_numpy(np.stack([_dense(one) for one in table[name]])) for name in columns]

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


def column_tensor(ds: Any, name: str) -> Tensor:
    """One column (n, ...) of a `datasets.Dataset` of nested lists or arrays of one shape, from Arrow's buffers.

    Source: the layout of Arrow's list and extension types; the values of a chunk lie side by side.
    """
    table = ds.flatten_indices() if ds._indices is not None else ds
    return flat_tensor(table.data.column(name))


def flat_tensor(column: Any) -> Tensor:
    """(n, ...) of a chunked array of Arrow, of nested lists or arrays of one shape."""
    import pyarrow as pa

    found = []
    for chunk in column.chunks:
        shape = [len(chunk)]
        values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        while pa.types.is_nested(values.type):
            below = values.flatten()
            shape.append(len(below) // max(1, len(values)))
            values = below
        found.append(values.to_numpy(zero_copy_only=False).reshape(shape))
    return torch.from_numpy(np.concatenate(found).astype(np.float32, copy=False))


COLUMN_TENSOR = '''
def column_tensor(ds, name):
    """One column (n, ...) of nested lists or arrays of one shape, from Arrow's buffers."""
    found = []
    table = ds.flatten_indices() if ds._indices is not None else ds
    for chunk in table.data.column(name).chunks:
        shape = [len(chunk)]
        values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        while pa.types.is_nested(values.type):
            below = values.flatten()
            shape.append(len(below) // max(1, len(values)))
            values = below
        found.append(values.to_numpy(zero_copy_only=False).reshape(shape))
    return torch.from_numpy(np.concatenate(found).astype(np.float32, copy=False))
'''


def _of_parquet(subject: Subject) -> list[Way]:
    import pyarrow.parquet as pq

    file = subject.files[0]

    def first(n: int, columns: Sequence[str]) -> Any:
        with pq.ParquetFile(file) as opened:
            return opened.read_row_group(0, columns=list(columns)).slice(0, n)

    def frame(n: int, columns: Sequence[str]) -> Values:
        table = first(n, columns).to_pandas()
        return [torch.from_numpy(np.stack([_dense(one) for one in table[name]])) for name in columns]

    def lists(n: int, columns: Sequence[str]) -> Values:
        table = first(n, columns)
        return [torch.tensor(table.column(name).to_pylist()) for name in columns]

    def expected(n: int, columns: Sequence[str]) -> Values:
        table = first(n, columns)
        return [flat_tensor(table.column(name)) for name in columns]

    group = group_rows(file)
    return [
        Way(
            "pandas.read_parquet", "np.stack(pandas.read_parquet(folder)[column])",
            "a NumPy object for each innermost list, stacked again", frame, expected=expected, most=group,
        ),
        Way(
            "pyarrow, to_pylist()", "torch.tensor(pq.read_table(folder)[column].to_pylist())",
            "each value becomes a Python float of 24 bytes in a list", lists, expected=expected, most=group,
        ),
    ]  # fmt: skip


def group_rows(file: Any) -> int:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        return int(opened.metadata.row_group(0).num_rows)


def _of_arrow(subject: Subject) -> list[Way]:
    import pyarrow as pa

    def table() -> Any:
        with pa.memory_map(str(subject.files[0])) as source:
            try:
                return pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                source.seek(0)
                return pa.ipc.open_stream(source).read_all()

    def lists(n: int, columns: Sequence[str]) -> Values:
        found = table().slice(0, n)
        return [torch.tensor(found.column(name).to_pylist()) for name in columns]

    def frame(n: int, columns: Sequence[str]) -> Values:
        found = table().slice(0, n).select(list(columns)).to_pandas()
        return [torch.from_numpy(np.stack([_dense(one) for one in found[name]])) for name in columns]

    def expected(n: int, columns: Sequence[str]) -> Values:
        found = table().slice(0, n)
        return [flat_tensor(found.column(name)) for name in columns]

    return [
        Way(
            "pyarrow, to_pylist()", "torch.tensor(table[column].to_pylist())",
            "each value becomes a Python float of 24 bytes in a list", lists, expected=expected,
        ),
        Way(
            "pyarrow, to_pandas()", "np.stack(table.to_pandas()[column])",
            "a NumPy object for each innermost list", frame, expected=expected,
        ),
    ]  # fmt: skip


def _of_adapters(subject: Subject) -> list[Way]:
    import safetensors.torch
    from safetensors import safe_open

    from lora_perf.io.dialects.names import parse_part

    def is_factor(name: str) -> bool:
        return parse_part(name) is not None

    def opened(n: int, _: Sequence[str]) -> Values:
        found = []
        for path in subject.files[:n]:
            with safe_open(path, "pt") as file:
                found += [file.get_tensor(name).float() for name in file.keys() if is_factor(name)]  # noqa: SIM118 - no mapping
        return found

    def whole(read: Callable[[Any], dict[str, Tensor]]) -> Callable[[int, Sequence[str]], Values]:
        return lambda n, _: [one.float() for path in subject.files[:n] for name, one in read(path).items() if is_factor(name)]

    return [
        Way(
            "safe_open, tensor by tensor", "with safe_open(path, 'pt') as file:\n    file.get_tensor(name)",
            "a header read, and an object, a storage and a copy for each tensor", opened, by_rows=True, by_column=False,
        ),
        Way(
            "load_file", "safetensors.torch.load_file(path)",
            "a mapping and its page faults for each file, an object for each tensor",
            whole(lambda path: safetensors.torch.load_file(path)), by_rows=True, by_column=False,
        ),
        Way(
            "load of its bytes", "safetensors.torch.load(path.read_bytes())",
            "one read a file, an object for each tensor",
            whole(lambda path: safetensors.torch.load(path.read_bytes())), by_rows=True, by_column=False,
        ),
    ]  # fmt: skip


def _of_packed(subject: Subject) -> list[Way]:
    from safetensors import safe_open

    def rows(n: int, _: Sequence[str]) -> Values:
        with safe_open(subject.files[0], "pt") as file:
            return [file.get_slice("rows")[:n]]

    return [
        Way(
            "safe_open, a slice of its rows", "with safe_open(path, 'pt') as file:\n    file.get_slice('rows')[:]",
            "one copy out of the mapped file", rows, by_rows=True, by_column=False,
        )
    ]  # fmt: skip


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
