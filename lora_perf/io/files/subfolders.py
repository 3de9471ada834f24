"""The classes that sub-folders are by their names: `cat/`, `label=cat/`, above or below train, validation and test."""

from __future__ import annotations

import os
import urllib.parse
from collections import Counter
from collections.abc import Sequence, Set

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.files.metadata import OWN_FOLDER
from lora_perf.io.files.tree import DESCRIPTION, TABLES, Tree, parent
from lora_perf.io.members import DEFAULT_COLUMN, SPLIT_COLUMN, Member, column_of, label_columns, member_of, part_of, text_of

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def of_folders(folder: str, paths: Sequence[str], label_column: str | None, own: Set[str]) -> list[Member]:
    """The adapters of a folder with the classes that the names of their sub-folders are, if they are any.

    Args:
        own: folders that are an adapter, and no class.
    """
    above = [_class_folders(path, own) for path in paths]
    if all(parts and all("=" in part for part in parts) for parts in above):
        return _of_partitions(folder, paths, above, label_column)
    if label_column is None:
        return _of_parts(paths, above)
    if label_column != DEFAULT_COLUMN:
        raise LoraPerfError(
            expected=f"metadata with a column {label_column!r} in {folder}",
            found=f"no {listed(TABLES)}, and no {DESCRIPTION} beside an adapter",
            fix="write a metadata.csv with the columns file_name and label, or leave out label_column (--label-column)",
        )
    for split, label in ((0, 1), (1, 0)):
        if all(len(parts) == 2 and part_of(parts[split]) is not None for parts in above):
            codes = [part_of(parts[split]) for parts in above]
            known = len(set(codes)) > 1  # a single part says nothing of the others
            return [
                Member(path, text_of(parts[label]), code if known else None)
                for path, parts, code in zip(paths, above, codes, strict=True)
            ]
    if all(not parts or (len(parts) == 1 and _is_part(parts[0])) for parts in above):
        return _of_parts(paths, above)
    for count, what in ((0, "no sub-folder"), (2, "several sub-folders")):
        wrong = [path for path, parts in zip(paths, above, strict=True) if min(len(parts), 2) == count]
        if wrong:
            if not count and any("/" in path for path in wrong):
                what = "no folder of a class (their own folder is the adapter itself)"
            common = os.path.commonpath([os.path.dirname(path) for path in paths])
            nearer = f"give the path of {os.path.join(folder, common)} if its folders are the classes, "
            inside = bool(common) and common not in map(os.path.dirname, paths)
            fix = "move them (class/adapter.safetensors), write a metadata.csv with the columns file_name and label, "
            fix += "or do without classes: label_column=None (--label-column None)"
            raise LoraPerfError(
                expected=f"the class of each adapter in {folder} as the name of its one sub-folder",
                found=f"{what} above {len(wrong)} of {len(above)} ({listed(wrong, 3)})",
                fix=nearer * (count == 2 and inside) + fix,
            )
    return [Member(path, text_of(parts[0])) for path, parts in zip(paths, above, strict=True)]


def _of_parts(paths: Sequence[str], above: Sequence[tuple[str, ...]]) -> list[Member]:
    """Adapters without classes, with the parts of a split that their first folders are, where these are such names."""
    codes = [part_of(parts[0]) if parts else None for parts in above]
    known = len(set(codes)) > 1 and None not in codes
    return [Member(path, split=code if known else None) for path, code in zip(paths, codes, strict=True)]


def _of_partitions(
    folder: str, paths: Sequence[str], above: Sequence[tuple[str, ...]], label_column: str | None
) -> list[Member]:
    """Folders that are named column=value, as Hive and Arrow write them."""
    rows = []
    for parts in above:
        pairs = (part.split("=", 1) for part in parts)
        rows.append({name: "" if value == _NO_VALUE else text_of(urllib.parse.unquote(value)) for name, value in pairs})
    every = dict.fromkeys(name for row in rows for name in row if name != SPLIT_COLUMN)
    columns = label_columns(label_column)
    if label_column == DEFAULT_COLUMN and len(every) == 1:
        columns = (*columns, *every)
    if label_column == DEFAULT_COLUMN and every.keys().isdisjoint(columns):
        columns = ()
    fix = "name the column of the labels with label_column=... (--label-column)"
    return [
        member_of(path, row, column_of(row, columns, "a folder of the label", folder, fix) if columns else None, path)
        for path, row in zip(paths, rows, strict=True)
    ]


def own_folders(tree: Tree, paths: Sequence[str]) -> set[str]:
    """The folders of a single adapter, whatever its name, and its configuration: each is the adapter, and no class."""
    counts = Counter(map(parent, paths)) if tree.configs else Counter[str]()
    return {inner for inner in tree.configs if counts[inner] == 1}


def _class_folders(path: str, own: Set[str]) -> tuple[str, ...]:
    """The folders above an adapter, without the one that is the adapter."""
    *folders, name = path.split("/")
    if name.lower() in OWN_FOLDER:
        return tuple(folders[:-1])
    # A single folder is the class; beside a part of a split the other one is.
    named = parent(path) in own and len(folders) > 1 and not (len(folders) == 2 and any(map(_is_part, folders)))
    return tuple(folders[:-1] if named else folders)


def _is_part(name: str) -> bool:
    return part_of(name) is not None
