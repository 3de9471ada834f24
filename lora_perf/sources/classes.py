"""The classes of a folder of adapter files: from its sub-folders, its metadata.csv or the metadata.json beside each adapter."""

from __future__ import annotations

import csv
import json
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.errors import LoraPerfError, listed
from lora_perf.sources.tree import DESCRIPTION, Tree, by_parts, parent

DEFAULT_COLUMN = "category_label"
_OTHER_COLUMNS = ("label", "class")
_FILE_COLUMNS = ("file_name", "file", "path")
_TABLES = ("metadata.csv", "metadata.jsonl")
_SPLITS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2}
PEFT_WEIGHTS = "adapter_model.safetensors"
# Libraries give every adapter this name, so that the folder is the adapter and no class.
_OWN_FOLDER = frozenset({PEFT_WEIGHTS, "pytorch_lora_weights.safetensors"})


@dataclass(frozen=True, slots=True)
class Member:
    """An adapter file of a folder.

    Attributes:
        path: relative to the folder.
        label: its class as it is written.
        split: 0 train, 1 validation, 2 test, or None where nothing says it.
        error: why there is no label.
    """

    path: str
    label: str | int = ""
    split: int | None = None
    error: LoraPerfError | None = None


def members(folder: str, tree: Tree, label_column: str) -> list[Member]:
    """The adapters of a folder in the order of their paths, each with its class.

    A metadata.csv or metadata.jsonl in the folder counts first, then the metadata.json beside each adapter, then the names of
    the sub-folders.

    Args:
        label_column: of the metadata; where it is the default, "label" and "class" are looked for too.

    Raises:
        LoraPerfError: adapters without a class or of an ambiguous one; a damaged table; a file outside the folder.
    """
    tables = [name for name in _TABLES if os.path.lexists(os.path.join(folder, name))]
    if len(tables) > 1:
        raise LoraPerfError(
            expected=f"one table of the classes in {folder}", found=listed(tables), fix="remove one of the two, or move it away"
        )
    if tables:
        return _of_table(folder, tables[0], tree, label_column)
    described = {parent(path) for path in tree.adapters} & tree.described
    if described:
        return _of_descriptions(folder, tree, label_column)
    if label_column != DEFAULT_COLUMN:
        raise LoraPerfError(
            expected=f"metadata with a column {label_column!r} in {folder}",
            found=f"no {listed(_TABLES)}, and no {DESCRIPTION} beside an adapter",
            fix="write a metadata.csv with the columns file_name and label, or leave out label_column (--label-column)",
        )
    return _of_folders(folder, tree)


def encode(values: Sequence[str | int]) -> tuple[Tensor, list[str]]:
    """Class indices (n,) and class names: in numerical order where all are numbers, if only as text, else alphabetical.

    Raises:
        LoraPerfError: both numbers and texts in one metadata.
    """
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        examples = [next(value for value in values if type(value) is kind) for kind in (str, int)]
        raise LoraPerfError(
            expected="labels that are all texts or all whole numbers",
            found=f"both, such as {examples[0]!r} and {examples[1]!r}",
            fix="write all labels as texts",
        )
    distinct = sorted(set(values))
    if all(isinstance(value, str) and value.isdecimal() for value in distinct):
        distinct.sort(key=lambda value: (int(value), value))
    places = {value: place for place, value in enumerate(distinct)}
    labels = np.fromiter((places[value] for value in values), np.int64, len(values))
    return torch.from_numpy(labels), [str(value) for value in distinct]


# A table of all adapters


def _of_table(folder: str, table: str, tree: Tree, label_column: str) -> list[Member]:
    where = os.path.join(folder, table)
    rows = _csv(where) if table.endswith(".csv") else _jsonl(where)
    if not rows:
        raise LoraPerfError(expected=f"a row for each adapter in {where}", found="no row", fix="fill the table or remove it")
    file_column = _column(rows[0], _FILE_COLUMNS, "a column of the files", where, "name it file_name")
    columns = _label_columns(label_column)
    fix = "name the column of the labels with label_column=... (--label-column)"
    column = _column(rows[0], columns, "a label column", where, fix)
    known = set(tree.adapters)
    found: dict[str, Member] = {}
    for number, row in enumerate(rows, start=1):
        place = f"row {number} of {where}"
        path = _inside(row.get(file_column), place)
        if path not in known and f"{path}/{PEFT_WEIGHTS}" in known:
            path = f"{path}/{PEFT_WEIGHTS}"
        if path in found:
            raise LoraPerfError(expected=f"one row a file in {where}", found=f"another for {path}", fix="remove one of the two")
        found[path] = _member(path, row, column, place)
    missing = [path for path in tree.adapters if path not in found]
    if missing:
        raise LoraPerfError(
            expected=f"a row in {where} for every adapter",
            found=f"none for {len(missing)} of {len(tree.adapters)} ({listed(missing, 3)})",
            fix="add the rows, or move the files elsewhere",
        )
    return [found[path] for path in sorted(found, key=by_parts)]


def _csv(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # spreadsheets begin a file with a byte order mark
            return list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, str(error)) from None


def _jsonl(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            rows = [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not all(isinstance(row, dict) for row in rows):
        raise _damaged(path, "a line that is no JSON object")
    return rows


def _inside(value: Any, place: str) -> str:
    """A path relative to the folder."""
    path = posixpath.normpath(value) if isinstance(value, str) and value else ""
    if not path or path.startswith(("/", "../")) or path in (".", "..") or "\0" in path:
        raise LoraPerfError(
            expected=f"a file inside the folder in {place}", found=repr(value), fix="give a path relative to the folder"
        )
    return path


# A description beside each adapter


def _of_descriptions(folder: str, tree: Tree, label_column: str) -> list[Member]:
    columns = _label_columns(label_column)
    found: list[Member] = []
    previous = None
    for path in tree.adapters:
        inner = parent(path)
        if inner == previous:
            raise LoraPerfError(
                expected=f"one adapter beside {os.path.join(folder, inner, DESCRIPTION)}",
                found="several, so that it is ambiguous which of them it describes",
                fix="give each adapter a folder of its own, or write a metadata.csv with the columns file_name and label",
            )
        previous = inner if inner in tree.described else None
        if previous is None:
            raise LoraPerfError(
                expected=f"a {DESCRIPTION} beside every adapter, as beside others in {folder}",
                found=f"none beside {path}",
                fix="add it, or write a metadata.csv with the columns file_name and label",
            )
        try:
            found.append(_described(path, os.path.join(folder, inner, DESCRIPTION), columns))
        except LoraPerfError as error:
            found.append(Member(path, error=error))
    return found


def _described(path: str, description: str, columns: Sequence[str]) -> Member:
    entries = read_object(description)
    fix = "name the entry of the label with label_column=... (--label-column)"
    return _member(path, entries, _column(entries, columns, "an entry of the label", description, fix), description)


def read_object(path: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        LoraPerfError: it cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(entries, dict):
        raise _damaged(path, f"a {type(entries).__name__}, no JSON object")
    return entries


# Sub-folders


def _of_folders(folder: str, tree: Tree) -> list[Member]:
    above = [_class_folders(path) for path in tree.adapters]
    if all(len(parts) == 2 and parts[0] in _SPLITS for parts in above):
        return [Member(path, parts[1], _SPLITS[parts[0]]) for path, parts in zip(tree.adapters, above, strict=True)]
    for count, what in ((0, "no sub-folder"), (2, "several sub-folders")):
        wrong = [path for path, parts in zip(tree.adapters, above, strict=True) if min(len(parts), 2) == count]
        if wrong:
            raise LoraPerfError(
                expected=f"the class of each adapter in {folder} as the name of its one sub-folder",
                found=f"{what} above {len(wrong)} of {len(above)} ({listed(wrong, 3)})",
                fix="move them (class/adapter.safetensors), or write a metadata.csv with the columns file_name and label",
            )
    return [Member(path, parts[0]) for path, parts in zip(tree.adapters, above, strict=True)]


def _class_folders(path: str) -> tuple[str, ...]:
    """The folders above an adapter, without the one that is the adapter."""
    *folders, name = path.split("/")
    return tuple(folders[:-1] if name in _OWN_FOLDER else folders)


# Columns and values


def _label_columns(label_column: str) -> tuple[str, ...]:
    return (DEFAULT_COLUMN, *_OTHER_COLUMNS) if label_column == DEFAULT_COLUMN else (label_column,)


def _column(row: Mapping[str, Any], columns: Iterable[str], what: str, where: str, fix: str) -> str:
    for column in columns:
        if column in row:
            return column
    raise LoraPerfError(
        expected=f"{what} ({listed(columns)}) in {where}", found=f"the columns {listed(row) or 'of no name'}", fix=fix
    )


def _member(path: str, row: Mapping[str, Any], column: str, place: str) -> Member:
    label = row.get(column)
    if not isinstance(label, str | int) or isinstance(label, bool) or label == "":
        raise LoraPerfError(
            expected=f"a label, text or whole number, in column {column!r} for {path} ({place})",
            found=repr(label),
            fix="label the adapter or leave it out",
        )
    part = row.get("split")
    if part is not None and part not in _SPLITS:
        raise LoraPerfError(
            expected=f"train, validation or test in column 'split' for {path} ({place})",
            found=repr(part),
            fix="give every adapter its part, or leave the column out",
        )
    return Member(path, label, None if part is None else _SPLITS[part])


def split_of(found: Sequence[Member]) -> Tensor | None:
    """(n,) 0 train, 1 validation, 2 test, or None where nothing says it.

    Raises:
        LoraPerfError: some adapters have a part and some have none.
    """
    with_part = [member.split for member in found if member.split is not None]
    if not with_part:
        return None
    if len(with_part) != len(found):
        path = next(member.path for member in found if member.split is None)
        raise LoraPerfError(
            expected="a part (split) of every adapter or of none",
            found=f"{len(found) - len(with_part)} without, such as {path}",
            fix="give every adapter its part, or leave the split out",
        )
    return torch.tensor(with_part)


def _damaged(path: str, found: str) -> LoraPerfError:
    return LoraPerfError(expected=f"a readable {path}", found=found, fix="repair or remove it")
