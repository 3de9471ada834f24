"""Labels from a column of a table: class indices and class names."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.members import DEFAULT_COLUMN, SPLIT_COLUMN, part_of
from lora_perf.io.splits import split_of_parts
from lora_perf.io.tables.columns import is_weight
from lora_perf.io.tables.shards import Shard

_log = logging.getLogger(__name__)
_LISTS = ("List", "LargeList", "Sequence")  # as versions of `datasets` have called them
_FIX = "label these adapters or leave them out"


def label_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The class names that `datasets` keeps in a schema for a column of ClassLabels, or of lists of these; or None."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[column]
        if isinstance(feature, dict) and feature.get("_type") in _LISTS:
            feature = feature["feature"]
        elif isinstance(feature, list):
            feature = feature[0]
    except (KeyError, ValueError, TypeError, IndexError):
        return None
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    return [str(name) for name in feature.get("names", ())] or None


def read_labels(shards: Sequence[Shard], column: str | None, where: str) -> tuple[Tensor | None, list[str]]:
    """Labels (n,) int64 and class names of a column of texts, whole numbers or ClassLabels.

    None and no names where no column is asked for, and, with a word, where no table has the one that is asked for by default.

    Texts become classes in alphabetical order, numbers in numerical order. Texts and numbers count as such in whatever type
    of Arrow they are stored, also where shards differ in it. ClassLabels keep their names and their order; those of shards
    that number them in another way, or write them as texts, are the same classes by their names.

    Raises:
        LoraPerfError: no such column, a missing label (its row is named), another type than these, a ClassLabel out of range,
            shards of which some hold names and others bare numbers.
    """
    if column is None:
        return None, []
    for shard in shards:
        if column not in shard.columns:
            others = [name for name in shard.columns if not is_weight(name)]
            if column == DEFAULT_COLUMN and all(column not in one.columns for one in shards):
                _log.warning(
                    "%s: no labels, since there is no column %s; choose one with label_column=... (--label-column): %s",
                    where, column, f"the columns are {listed(others)}" if others else "there are weight columns only",
                )  # fmt: skip
                return None, []
            raise LoraPerfError(
                expected=(f"in {shard.where} " if shard.where else "") + f"a label column {column!r}",
                found=f"the columns {listed(others)}" if others else "weight columns only",
                fix="name the column of the labels with label_column=... (--label-column)",
            )
    filled = [shard for shard in shards if shard.rows] or list(shards[:1])
    parts: list[pa.ChunkedArray] = []
    done = 0
    for shard in filled:
        parts.append(_labels_of(shard, column, done))
        done += shard.rows
    parts = _partitions_as_numbers(filled, column, parts)
    names = [shard.class_names(column) if _is_whole(part.type) else None for shard, part in zip(filled, parts, strict=True)]
    if any(one != names[0] for one in names) or any(part.type != parts[0].type for part in parts):
        return _by_name(filled, column, parts, names)
    values = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
    return _of_numbers(values, column, names[0]) if _is_whole(values.type) else _of_texts(values)


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_int64(kind))


def _by_name(
    shards: Sequence[Shard], column: str, parts: Sequence[pa.ChunkedArray], names: Sequence[list[str] | None]
) -> tuple[Tensor, list[str]]:
    """Labels of shards whose numbers mean different names, or that hold texts; the classes of ClassLabels come first."""
    for shard, part, known in zip(shards, parts, names, strict=True):
        if _is_whole(part.type) and known is None:
            first = next(i for i, one in enumerate(parts) if one is not part and (names[i] or not _is_whole(one.type)))
            raise LoraPerfError(
                expected=f"labels of one kind in column {column!r}",
                found=f"mixed labels: names in {shards[first].where}, numbers without names in {shard.where}",
                fix="write all labels as strings or all as integers",
            )
    texts = []
    done = 0
    for shard, part, known in zip(shards, parts, names, strict=True):
        if known is not None:
            numbers, _ = _of_numbers(part, column, known, done)
            part = pa.chunked_array([pa.array(known, pa.large_string()).take(pa.array(numbers.numpy()))])
        texts.append(part)
        done += shard.rows
    values = pa.chunked_array([chunk for part in texts for chunk in part.chunks], pa.large_string())
    return _of_texts(values, list(dict.fromkeys(name for known in names for name in known or ())))


def _labels_of(shard: Shard, column: str, done: int) -> pa.ChunkedArray:
    """The labels of one shard as large_string or int64, none missing; `done` rows of the zoo stand before it."""
    values = shard.column(column)
    if values.null_count:
        row = done + int(np.argmax(values.is_null().to_numpy()))
        raise _unusable(column, f"{values.null_count} missing, the first in row {row}", _FIX, shard)
    if pa.types.is_large_string(values.type):
        empty = pc.equal(values, "")
        if pc.any(empty).as_py():
            row = done + int(np.argmax(empty.to_numpy()))
            raise _unusable(column, f"an empty label in row {row}", _FIX, shard)
        return values
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise _unusable(column, str(error), "number the classes from 0", shard) from None
    raise _unusable(column, f"type {values.type}", "give every adapter a class as string or integer", shard)


def _partitions_as_numbers(shards: Sequence[Shard], column: str, parts: list[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Labels that stand in paths are texts there, and numbers where each of them is written as a number is."""
    written = {shard.partitions[column] for shard in shards if column not in shard.schema.names}
    if not written or not all(_is_number(value) for value in written):
        return parts
    return [part if column in shard.schema.names else part.cast(pa.int64()) for shard, part in zip(shards, parts, strict=True)]


def _is_number(text: str | None) -> bool:
    digits = (text or "").removeprefix("-")
    return digits.isdecimal() and digits.isascii() and str(int(digits)) == digits and len(digits) < 19


def _of_texts(values: pa.ChunkedArray, known: Sequence[str] = ()) -> tuple[Tensor, list[str]]:
    classes = [*known, *sorted(set(pc.unique(values).to_pylist()).difference(known))]
    places = pc.index_in(values, value_set=pa.array(classes, values.type))
    return torch.from_numpy(places.to_numpy().astype(np.int64)), classes


def _of_numbers(values: pa.ChunkedArray, column: str, names: list[str] | None, done: int = 0) -> tuple[Tensor, list[str]]:
    numbers = values.to_numpy().copy()
    if names is None:
        distinct, numbers = np.unique(numbers, return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), [str(number) for number in distinct.tolist()]
    outside = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(outside):
        raise _unusable(column, f"{numbers[outside[0]]} in row {done + outside[0]} of {len(names)} classes", _FIX)
    return torch.from_numpy(numbers), names


def _unusable(column: str, found: str, fix: str, shard: Shard | None = None) -> LoraPerfError:
    place = "" if shard is None else shard.place
    return LoraPerfError(
        expected=f"one string, integer or ClassLabel per adapter in column {column!r}{place}", found=found, fix=fix
    )


def split_of_column(shards: Sequence[Shard], label_column: str | None, where: str) -> Tensor | None:
    """(n,) the part of each row by a column `split` of texts, as tables of adapter files have one; None where there is none."""
    if label_column == SPLIT_COLUMN or not all(SPLIT_COLUMN in shard.schema.names for shard in shards):
        return None
    columns = [shard.column(SPLIT_COLUMN) for shard in shards]
    if not all(pa.types.is_large_string(column.type) for column in columns):
        return None
    values = [value for column in columns for value in column.to_pylist()]
    parts = {value: None if value is None else part_of(value.strip()) for value in values}
    strange = [value for value, part in parts.items() if part is None]
    if len(strange) == len(parts):
        return None  # of another meaning
    if strange:
        raise LoraPerfError(
            expected=f"train, validation or test in every row of column {SPLIT_COLUMN!r} of {where}",
            found=f"{strange[0]!r} in row {values.index(strange[0])}",
            fix="write one of these, or rename the column if it is no split",
        )
    return split_of_parts([1] * len(values), [parts[value] for value in values], where)
