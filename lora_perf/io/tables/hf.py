"""Data sets of the `datasets` library: a Dataset, or a DatasetDict with its splits."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.zoo import Zoo
from lora_perf.io.identity import Opened
from lora_perf.io.splits import EVERY, chosen, no_split, refuse_part, refuse_slice, split_of_parts
from lora_perf.io.tables.arrow import Part, zoo_of_parts


def zoo_of_data(data: Any, label_column: str | None, split: str | None, name: str) -> Zoo:
    """The zoo of a Dataset; of a DatasetDict the parts that `split` names, with these as its own split.

    Raises:
        LoraPerfError: another object; a stream; a transform that shows other values than the table holds; what `chosen` and
            `zoo_of_parts` refuse.
    """
    import datasets

    if isinstance(data, datasets.DatasetDict):
        taken = chosen(data, split, name)
        parts = [_part(data[key], key if len(taken) > 1 else "") for key, _ in taken]
        own = split_of_parts([part.rows for part in parts], [number for _, number in taken], name)
        return zoo_of_parts(parts, label_column=label_column, name=name, split=own)
    part = _part(data, "")
    own_name = "train" if data.split is None else str(data.split)
    if split not in (None, EVERY, own_name):
        refuse_slice(split or "", name)
        raise no_split(name, str(split), [own_name])
    return zoo_of_parts([part], label_column=label_column, name=name)


def _part(data: Any, where: str) -> Part:
    """The table of a data set, the rows of it that the data set shows, and the names of its classes."""
    import datasets

    if isinstance(data, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise LoraPerfError(
            expected="a data set whose rows can be read in any order, and more than once",
            found=f"an {type(data).__name__}, which is a stream",
            fix="load it without streaming=True, or collect the rows first: datasets.Dataset.from_list(list(stream))",
        )
    if not isinstance(data, datasets.Dataset):
        raise LoraPerfError(
            expected="a path, a name, a Zoo, a pyarrow.Table, a datasets.Dataset or a datasets.DatasetDict, a DataFrame, "
            "a mapping of columns, or state dicts in a list or by name",
            found=f"{'an empty' if isinstance(data, Sized) and not len(data) else 'a'} {type(data).__name__}",
            fix="load or convert it first",
        )
    if data.format["type"] == "custom":
        raise LoraPerfError(
            expected="a data set that shows the values that it holds",
            found="a transform (with_transform, set_transform), which shows others and is no part of the table",
            fix="apply it with data.map(...), or take it off with data.reset_format()",
        )
    indices = None
    if data._indices is not None:  # the mapping that select, shuffle and train_test_split leave; no public name
        indices = data._indices.column(0).to_numpy().astype(np.int64)
    features = data.info.features  # not `data.features`, a deep copy that takes longer than all else here

    def class_names(column: str) -> list[str] | None:
        feature = features.get(column)
        if isinstance(feature, list):
            feature = feature[0]
        feature = getattr(feature, "feature", feature)  # of a list
        return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None

    try:
        opened = Opened([file["filename"] for file in data.cache_files])
    except OSError:
        opened = None  # a file that was removed meanwhile stays mapped, and as it was
    return Part(data.data.table, indices, where, class_names, opened=opened)


def is_arrow(data: Any) -> bool:
    """Whether an object is a table that can be read as one of Arrow."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def zoo_of_arrow(data: Any, label_column: str | None, split: str | None, name: str) -> Zoo:
    """The zoo of a table of another library that shows itself as one of Arrow: pyarrow, polars, pandas, DuckDB."""
    import pyarrow as pa

    refuse_part(split, f"the {type(data).__name__}")
    try:
        table = data if isinstance(data, pa.Table) else pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise LoraPerfError(
            expected="a table with a column for each factor",
            found=f"a {type(data).__name__} that is none ({listed(str(error).splitlines()[:1])})",
            fix="make it a pyarrow.Table of nested lists first",
        ) from None
    return zoo_of_parts([Part(table)], label_column=label_column, name=name)
