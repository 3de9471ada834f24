"""Labels from a column of a table: class indices and class names."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.errors import LoraPerfError, listed
from lora_perf.layout import parse_name


def label_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The class names that `datasets` keeps for a ClassLabel column in a schema's metadata, or None."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[column]
    except (KeyError, ValueError, TypeError):
        return None
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    return [str(name) for name in feature.get("names", ())] or None


def read_labels(
    table: pa.Table, column: str, names: list[str] | None, indices: NDArray[np.int64] | None
) -> tuple[Tensor, list[str]]:
    """Labels (n,) int64 and class names of a column of strings, integers or ClassLabels.

    Strings become classes in alphabetical order, integers in numerical order.

    Raises:
        LoraPerfError: no such column, a missing label (its row is named), another type than these, a ClassLabel out of range.
    """
    if column not in table.column_names:
        others = [name for name in table.column_names if parse_name(name) is None]
        raise LoraPerfError(
            expected=f"a label column {column!r}",
            found=f"the columns {listed(others)}" if others else "weight columns only",
            fix="name the column of the labels with label_column=... (--label-column)",
        )
    values = table.column(column)
    try:
        values.validate(full=True)  # Arrow itself would follow damaged offsets out of the file
    except pa.ArrowInvalid as error:
        raise _unusable(column, f"damaged values ({error})", "write or fetch the data set again") from None
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if indices is not None:
        values = values.take(pa.array(indices))
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy()))
        raise _unusable(
            column, f"{values.null_count} missing, the first in row {row}", "label these adapters or leave them out"
        )
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        classes = sorted(pc.unique(values).to_pylist())
        if "" in classes:
            row = int(np.argmax(pc.equal(values, "").to_numpy()))
            raise _unusable(column, f"an empty label in row {row}", "label these adapters or leave them out")
        places = pc.index_in(values, value_set=pa.array(classes, values.type))
        return torch.from_numpy(places.to_numpy().astype(np.int64)), classes
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        try:
            numbers = values.cast(pa.int64()).to_numpy().copy()
        except pa.ArrowInvalid as error:
            raise _unusable(column, str(error), "number the classes from 0") from None
        if names is None:
            distinct, numbers = np.unique(numbers, return_inverse=True)
            return torch.from_numpy(numbers.astype(np.int64)), [str(number) for number in distinct.tolist()]
        outside = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
        if len(outside):
            raise _unusable(
                column,
                f"{numbers[outside[0]]} in row {outside[0]} of {len(names)} classes",
                "label these adapters or leave them out",
            )
        return torch.from_numpy(numbers), names
    raise _unusable(column, f"type {values.type}", "give every adapter a class as string or integer")


def _unusable(column: str, found: str, fix: str) -> LoraPerfError:
    return LoraPerfError(expected=f"one string, integer or ClassLabel per adapter in column {column!r}", found=found, fix=fix)
