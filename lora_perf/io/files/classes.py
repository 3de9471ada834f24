"""The classes of a folder of adapter files: from its sub-folders, its metadata.csv or the metadata.json beside each adapter."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.files.metadata import FILE_COLUMNS, read_object, rows_of
from lora_perf.io.files.subfolders import of_folders, own_folders
from lora_perf.io.files.tree import DESCRIPTION, Tree, by_parts, parent
from lora_perf.io.headers import bad_file, reason
from lora_perf.io.members import DEFAULT_COLUMN, Member, column_of, label_columns, member_of, part_of

_log = logging.getLogger(__name__)


def members(folder: str, tree: Tree, label_column: str | None, left: frozenset[str] = frozenset()) -> list[Member]:
    """The adapters of a folder in the order of their paths, each with its class.

    A metadata.csv or metadata.jsonl in the folder counts first, or one in each of its folders train, validation and test;
    then the metadata.json beside each adapter, then the names of the sub-folders (`cat/`, or `label=cat/`), above or below
    which folders train, validation and test are the split.

    Args:
        label_column: of the metadata; where it is the default, "label" and "class" are looked for too. None for no classes,
            which is also what there is where nothing names them: then the label of each is "".
        left: adapters that cannot be used, which need no class.

    Raises:
        LoraPerfError: adapters without a class or of an ambiguous one; a damaged table; a file outside the folder.
    """
    paths = [path for path in tree.adapters if path not in left] if left else tree.adapters
    tables = {where: [path for path in tree.tables if parent(path) == where] for where in map(parent, tree.tables)}
    for where, some in tables.items():
        if len(some) > 1:
            inner = os.path.join(folder, where) if where else folder
            raise LoraPerfError(
                expected=f"one table of the classes in {inner}",
                found=listed(map(os.path.basename, some)),
                fix="remove one of the two, or move it away",
            )
    parts = {where: part for where in tables if (part := part_of(where)) is not None}
    for where, some in tables.items():
        if where and ("" in tables or where not in parts):
            tree.leave("table{s} of sub-folders", some[0])
    own = own_folders(tree, paths)
    if "" in tables:
        found = _of_tables(folder, {"": tables[""][0]}, {}, tree.adapters, label_column, left)
    elif parts:
        chosen = {where: tables[where][0] for where in parts}
        found = _of_tables(folder, chosen, parts if len(parts) > 1 else {}, tree.adapters, label_column, left)
    elif tree.described and not tree.described.keys().isdisjoint(map(parent, paths)):
        found = _of_descriptions(folder, tree, paths, label_column)
    else:
        found = of_folders(folder, paths, label_column, own)
    if not found or label_column != DEFAULT_COLUMN or any(one.label != "" for one in found):
        return found
    columns = listed(dict.fromkeys(name for one in found for name in one.entries))
    if tables or tree.described:
        found = _by_folders(folder, found, own)
    if any(one.label != "" for one in found):
        _log.info("%s: the sub-folders are the classes, since no column of the metadata is: %s", folder, columns)
    elif columns:
        _log.warning("%s: no labels; choose a column with label_column=... (--label-column): %s", folder, columns)
    else:
        _log.warning("%s: no labels, since no sub-folder names a class and no metadata do", folder)
    return found


def _by_folders(folder: str, found: list[Member], own: Set[str]) -> list[Member]:
    """Adapters of which the metadata name no class, with the classes that their sub-folders name, if they do."""
    try:
        named = of_folders(folder, [one.path for one in found if one.error is None], DEFAULT_COLUMN, own)
    except LoraPerfError:
        return found
    by_path = {one.path: one for one in named}
    return [
        one
        if (other := by_path.get(one.path)) is None
        else replace(one, label=other.label, split=other.split if one.split is None else one.split)
        for one in found
    ]


def declared(tree: Tree, paths: Sequence[str]) -> bool:
    """Whether metadata name the adapters one by one, so that each is meant."""
    tables = any(parent(path) == "" or part_of(parent(path)) is not None for path in tree.tables)
    return tables or (bool(tree.described) and not tree.described.keys().isdisjoint(map(parent, paths)))


def alike(classes: Sequence[str]) -> list[str]:
    """Names of classes that differ in case, spaces or signs that look the same only, each group as a text.

    >>> alike(["Cat", "cat ", "dog"])
    ["'Cat' and 'cat '"]
    """
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [" and ".join(map(repr, names)) for names in groups.values() if len(names) > 1]


# Tables of all adapters


def _of_tables(
    folder: str,
    tables: Mapping[str, str],
    parts: Mapping[str, int],
    paths: Sequence[str],
    label_column: str | None,
    left: frozenset[str],
) -> list[Member]:
    """The adapters of one table a folder; `parts` are those of folders that are the parts of a split."""
    found: list[Member] = []
    inside: set[str] = set()
    unlabelled = label_column is None
    for where, table in tables.items():
        begin = f"{where}/" if where else ""
        mine = [path[len(begin) :] for path in paths if path.startswith(begin)]
        inside.update(path for path in paths if path.startswith(begin))
        unneeded = frozenset(path[len(begin) :] for path in left if path.startswith(begin))
        rows = rows_of(os.path.join(folder, table), mine, unneeded)
        fix = "name the column of the labels with label_column=... (--label-column)"
        columns = label_columns(label_column)
        if label_column == DEFAULT_COLUMN and not found:  # those of the parts of a split are alike
            unlabelled = rows[0].entries.keys().isdisjoint(columns)
        place = os.path.join(folder, table)
        column = None if unlabelled else column_of(rows[0].entries, columns, "a label column", place, fix)
        for row in rows:
            path = begin + row.path
            if path in left:
                continue
            if not row.known:
                error = bad_file(os.path.join(folder, path), _missing(os.path.join(folder, path)))
                found.append(Member(path, error=error))
                continue
            entries = {name: value for name, value in row.entries.items() if name not in FILE_COLUMNS}
            found.append(member_of(path, entries, column, row.place, parts.get(where)))
    outside = [path for path in paths if path not in inside and path not in left]
    if outside:
        raise LoraPerfError(
            expected=f"every adapter in {folder} below a folder with a table ({listed(tables.values())})",
            found=f"{len(outside)} elsewhere ({listed(outside, 3)})",
            fix="write one metadata.csv in the folder itself, with the columns file_name, label and split",
        )
    return sorted(found, key=lambda member: by_parts(member.path))


def _missing(path: str) -> str:
    """Why there is no adapter where a table names one."""
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        return reason(error, path) if isinstance(error, OSError) else str(error)
    return "no adapter file"


# A description beside each adapter


def _of_descriptions(folder: str, tree: Tree, paths: Sequence[str], label_column: str | None) -> list[Member]:
    found: dict[str, Mapping[str, Any] | LoraPerfError] = {}
    previous = None
    for path in paths:
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
            found[path] = read_object(os.path.join(folder, inner, DESCRIPTION))
        except LoraPerfError as error:
            found[path] = error
    columns = label_columns(label_column)
    known = [entries for entries in found.values() if not isinstance(entries, LoraPerfError)]
    if label_column == DEFAULT_COLUMN and known and all(entries.keys().isdisjoint(columns) for entries in known):
        columns = ()
    return [_described(path, os.path.join(folder, parent(path), DESCRIPTION), one, columns) for path, one in found.items()]


def _described(path: str, description: str, entries: Mapping[str, Any] | LoraPerfError, columns: Sequence[str]) -> Member:
    if isinstance(entries, LoraPerfError):
        return Member(path, error=entries)
    fix = "name the entry of the label with label_column=... (--label-column)"
    try:
        column = column_of(entries, columns, "an entry of the label", description, fix) if columns else None
        return member_of(path, entries, column, description)
    except LoraPerfError as error:
        return Member(path, error=error)
