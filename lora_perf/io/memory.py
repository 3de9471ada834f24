"""Zoos of objects in memory: state dicts of adapters, columns of tensors, data frames of matrices.

They go the ways of files and tables, whose grammars of names, scales and labels count: each state dict as an adapter file that
is written and read at once, columns as a table of Arrow.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.making import encode
from lora_perf.core.metadata import Metadata
from lora_perf.core.names import parse_factor
from lora_perf.core.zoo import ArrayRows, Zoo
from lora_perf.io.dialects.names import parse_alpha
from lora_perf.io.files.adapter import Meaning, layout_of, meaning_of, read_scales
from lora_perf.io.files.agreeing import agreeing, tables_of
from lora_perf.io.files.plan import Plan
from lora_perf.io.files.reader import Opened
from lora_perf.io.headers import parse_header
from lora_perf.io.members import DEFAULT_COLUMN, SPLIT_COLUMN, Member, label_columns, member_of, split_of
from lora_perf.io.splits import refuse_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

# Ways to say what is an adapter in memory: a state dict holds factors beside its label and whatever else is known of it.
StateDict = Mapping[str, Any]


def table_of(data: Any) -> pa.Table | None:
    """A table of Arrow of columns in memory, whose factors are (n, rows, columns) or n matrices; None for other objects.

    Args:
        data: a mapping of columns, or a DataFrame of pandas of which some column holds matrices of NumPy or torch.

    >>> table_of({"a.lora.down.weight": np.ones((3, 2, 5)), "label": ["cat", "dog", "cat"]}).num_rows
    3
    """
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        data = _checked(data)
        columns = {str(name): data[name].tolist() for name in data.columns}
        if not any(_is_array(values[0]) and np.ndim(values[0]) > 1 for values in columns.values() if values):
            return None  # Arrow reads it as it is
    elif isinstance(data, Mapping) and any(parse_factor(str(name)) for name in data):
        columns = {str(name): values for name, values in data.items()}
    else:
        return None
    import pyarrow as pa

    arrays = {name: _column(name, values) for name, values in columns.items()}
    counts = {name: len(one) for name, one in arrays.items()}
    if len(set(counts.values())) > 1:
        raise LoraPerfError(
            expected="columns of the same number of adapters",
            found=listed((f"{count} in {name}" for name, count in counts.items()), 4),
            fix="stack the matrices of each layer to (n, rows, columns), and give each adapter its values; "
            "a state dict of one adapter goes into a list",
        )
    return pa.table(arrays)


def state_dicts_of(data: Any) -> tuple[list[str] | None, list[StateDict]] | None:
    """Names, where there are some, and state dicts of a sequence of these or of a mapping by name; None for other objects."""
    names = list(map(str, data)) if isinstance(data, Mapping) else None
    dicts = list(data.values()) if isinstance(data, Mapping) else data
    if not isinstance(dicts, Sequence) or not dicts or not all(isinstance(one, Mapping) for one in dicts):
        return None
    return (names, list(dicts)) if any(_is_array(value) for value in dicts[0].values()) else None


def zoo_of_state_dicts(
    names: list[str] | None, dicts: Sequence[StateDict], label_column: str | None, split: str | None, name: str
) -> Zoo:
    """The zoo of adapters as tensors by name, in any dialect that files may have; alphas among them count.

    What is no tensor and no alpha is the label (`label_column`), the part (`split`), or metadata.

    Cost: each adapter is copied three times; memory is the row matrix and one adapter.

    Raises:
        LoraPerfError: what the reader of adapter files refuses, adapters of different modules, labels of some only.
    """
    from lora_perf.io.tables.others import names_of  # which imports pyarrow

    refuse_part(split, "the state dicts")
    called = names or [f"state dict {i}" for i in range(len(dicts))]
    known: dict[bytes, Meaning] = {}
    opened = [_opened(one, name, known) for name, one in zip(called, dicts, strict=True)]
    opened = agreeing(opened, "", _raise)
    meanings = list({id(one.meaning): one.meaning for one in opened}.values())
    layout = layout_of(meanings)
    plans = {id(one): Plan(one, layout) for one in meanings}
    rows = np.zeros((len(opened), layout.p), np.float32)
    for row, one, state in zip(rows, opened, dicts, strict=True):
        plan = plans[id(one.meaning)]
        with _as_file(state) as (descriptor, _, begin):
            plan.fill(row, descriptor, begin, np.empty(plan.buffer_nbytes, np.uint8))
    members, labelled, columns = _beside(called, dicts, label_column)
    labels, classes = encode([one.label for one in members]) if labelled else (None, [])
    metadata = Metadata(columns, len(members))
    return Zoo(
        ArrayRows(rows),
        layout,
        labels,
        classes,
        split=split_of(members),
        name=name,
        names=names or names_of(metadata),
        metadata=metadata,
        **tables_of(opened),
    )


def _opened(state: StateDict, name: str, known: dict[bytes, Meaning]) -> Opened:
    try:
        with _as_file(state) as (descriptor, text, begin):
            size = os.fstat(descriptor).st_size
            if text not in known:
                known[text] = meaning_of(parse_header(text, size), None)
            meaning = known[text]
            return Opened(Member(name), meaning, read_scales(meaning, descriptor, begin), begin, size, 0, (0, 0))
    except LoraPerfError as error:
        raise error.but(expected=f"{error.expected} in {name}") from None


@contextmanager
def _as_file(state: StateDict) -> Iterator[tuple[int, bytes, int]]:
    """The tensors of a state dict as an adapter file: its descriptor, its header, and where its data begin."""
    from safetensors.torch import save

    data = save({str(name): _tensor(value) for name, value in state.items() if _is_weight(str(name), value)})
    begin = 8 + int.from_bytes(data[:8], "little")
    with _empty_file() as file:
        file.write(data)
        file.flush()
        yield file.fileno(), data[8:begin], begin


def _empty_file() -> Any:
    """A file in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return io.FileIO(os.memfd_create("adapter"), "r+")
    return tempfile.TemporaryFile()


def _beside(
    names: Sequence[str], dicts: Sequence[StateDict], label_column: str | None
) -> tuple[list[Member], bool, dict[str, list[Any]]]:
    """The adapters, whether they have labels, and what else the state dicts hold, as columns."""
    plain = [{str(key): _plain(value) for key, value in one.items() if not _is_weight(str(key), value)} for one in dicts]
    known = {key: None for one in plain for key in one}
    asked = () if label_column is None else label_columns(label_column)
    column = next((one for one in asked if one in known), None)
    if column is None and label_column not in (None, DEFAULT_COLUMN):
        raise LoraPerfError(
            expected=f"a label {label_column!r} in each state dict",
            found=listed(known) or "nothing beside tensors",
            fix="add it, or leave label_column out",
        )
    others = {key: [one.get(key) for one in plain] for key in known if key not in (column, SPLIT_COLUMN)}
    members = [member_of(name, one, column, "its state dict") for name, one in zip(names, plain, strict=True)]
    return members, column is not None, others


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_weight(name: str, value: Any) -> bool:
    """Whether an entry is part of the adapter: tensors are, but for a single number of a name without a module."""
    if _is_array(value):
        return value.ndim > 0 or "." in name or parse_alpha(name) is not None
    return isinstance(value, int | float) and parse_alpha(name) is not None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor | np.ndarray | np.generic) else value


def _tensor(value: Any) -> Tensor:
    """A tensor of its own, as safetensors writes it.

    Raises:
        LoraPerfError: it has no values, as those on the device meta.
    """
    if isinstance(value, Tensor) and value.is_meta:
        raise LoraPerfError(expected="tensors with values", found="one on the device meta", fix="load the weights first")
    return torch.as_tensor(value).detach().to("cpu", copy=True).contiguous()


def _column(name: str, values: Any) -> Any:
    """A column of Arrow: factors as lists of lists of one size, without a copy where they are floats already."""
    import pyarrow as pa

    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if parse_factor(name) is None:
        return _values(name, values)
    if not isinstance(values, np.ndarray):
        values = _stacked(values)
    if not isinstance(values, np.ndarray) or values.ndim != 3:
        return pa.array(values if isinstance(values, list) else values.tolist())
    values = np.ascontiguousarray(values if values.dtype.kind == "f" else values.astype(np.float32))
    inner = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[2])
    return pa.FixedSizeListArray.from_arrays(inner, values.shape[1])


def _values(name: str, values: Any) -> pa.Array:
    """A column of plain values; a missing one among texts, which pandas writes as a number, is none."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError):
        pass
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise LoraPerfError(
            expected=f"values of one plain type in the column {name!r}",
            found=listed(str(error).splitlines()[:1]),
            fix="make all of them texts or all of them numbers, or leave the column out",
        ) from None


def _checked(data: Any) -> Any:
    """A DataFrame with rows, whose columns have different names; an index of a name is a column too."""
    if not data.columns.is_unique:
        twice = list(dict.fromkeys(data.columns[data.columns.duplicated()]))
        raise LoraPerfError(expected="columns of different names", found=f"{listed(twice)} twice", fix="drop or rename some")
    if not len(data):
        raise LoraPerfError(expected="at least one adapter", found="a DataFrame without rows", fix="check its filter")
    return data if data.index.name in (None, *data.columns) else data.reset_index()


def _stacked(values: Iterable[Any]) -> Any:
    """n matrices as one array, as lists where their shapes differ."""
    arrays = [one.detach().float().cpu().numpy() if isinstance(one, Tensor) else np.asarray(one) for one in values]
    return np.stack(arrays) if len({one.shape for one in arrays}) == 1 else [one.tolist() for one in arrays]


def _raise(_: str, error: LoraPerfError) -> None:
    raise error
