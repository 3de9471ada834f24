"""The classes of a folder of adapter files: from its sub-folders, its metadata.csv or the metadata.json beside each adapter."""

from __future__ import annotations

import os
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence, Set

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.targets import encode as encode
from lora_perf.io.files.metadata import OWN_FOLDER, read_object, rows_of
from lora_perf.io.files.tree import DESCRIPTION, TABLES, Tree, by_parts, parent
from lora_perf.io.headers import bad_file, reason
from lora_perf.io.members import DEFAULT_COLUMN, SPLIT_COLUMN, Member, column_of, label_columns, member_of, text_of
from lora_perf.io.parts import part_of

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def members(folder: str, tree: Tree, label_column: str, left: frozenset[str] = frozenset()) -> list[Member]:
    """The adapters of a folder in the order of their paths, each with its class.

    A metadata.csv or metadata.jsonl in the folder counts first, or one in each of its folders train, validation and test;
    then the metadata.json beside each adapter, then the names of the sub-folders (`cat/`, or `label=cat/`), above or below
    which folders train, validation and test are the split.

    Args:
        label_column: of the metadata; where it is the default, "label" and "class" are looked for too.
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
    if "" in tables:
        return _of_tables(folder, {"": tables[""][0]}, {}, tree.adapters, label_column, left)
    if parts:
        chosen = {where: tables[where][0] for where in parts}
        return _of_tables(folder, chosen, parts if len(parts) > 1 else {}, tree.adapters, label_column, left)
    if tree.described and not tree.described.keys().isdisjoint(map(parent, paths)):
        return _of_descriptions(folder, tree, paths, label_column)
    return _of_folders(folder, paths, label_column, _own_folders(tree, paths))


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
    label_column: str,
    left: frozenset[str],
) -> list[Member]:
    """The adapters of one table a folder; `parts` are those of folders that are the parts of a split."""
    found: list[Member] = []
    inside: set[str] = set()
    for where, table in tables.items():
        begin = f"{where}/" if where else ""
        mine = [path[len(begin) :] for path in paths if path.startswith(begin)]
        inside.update(path for path in paths if path.startswith(begin))
        unneeded = frozenset(path[len(begin) :] for path in left if path.startswith(begin))
        rows = rows_of(os.path.join(folder, table), mine, unneeded)
        fix = "name the column of the labels with label_column=... (--label-column)"
        column = column_of(rows[0].entries, label_columns(label_column), "a label column", os.path.join(folder, table), fix)
        for row in rows:
            path = begin + row.path
            if path in left:
                continue
            if not row.known:
                error = bad_file(os.path.join(folder, path), _missing(os.path.join(folder, path)))
                found.append(Member(path, error=error))
                continue
            found.append(member_of(path, row.entries, column, row.place, parts.get(where)))
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


def _of_descriptions(folder: str, tree: Tree, paths: Sequence[str], label_column: str) -> list[Member]:
    columns = label_columns(label_column)
    found: list[Member] = []
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
            found.append(_described(path, os.path.join(folder, inner, DESCRIPTION), columns))
        except LoraPerfError as error:
            found.append(Member(path, error=error))
    return found


def _described(path: str, description: str, columns: Sequence[str]) -> Member:
    entries = read_object(description)
    fix = "name the entry of the label with label_column=... (--label-column)"
    return member_of(path, entries, column_of(entries, columns, "an entry of the label", description, fix), description)


# Sub-folders


def _of_folders(folder: str, paths: Sequence[str], label_column: str, own: Set[str]) -> list[Member]:
    above = [_class_folders(path, own) for path in paths]
    if all(parts and all("=" in part for part in parts) for parts in above):
        return _of_partitions(folder, paths, above, label_column)
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
    for count, what in ((0, "no sub-folder"), (2, "several sub-folders")):
        wrong = [path for path, parts in zip(paths, above, strict=True) if min(len(parts), 2) == count]
        if wrong:
            if not count and any("/" in path for path in wrong):
                what = "no folder of a class (their own folder is the adapter itself)"
            common = os.path.commonpath([os.path.dirname(path) for path in paths])
            nearer = f"give the path of {os.path.join(folder, common)} if its folders are the classes, "
            inside = bool(common) and common not in map(os.path.dirname, paths)
            fix = "move them (class/adapter.safetensors), or write a metadata.csv with the columns file_name and label"
            raise LoraPerfError(
                expected=f"the class of each adapter in {folder} as the name of its one sub-folder",
                found=f"{what} above {len(wrong)} of {len(above)} ({listed(wrong, 3)})",
                fix=nearer * (count == 2 and inside) + fix,
            )
    names = dict.fromkeys(parts[0] for parts in above)
    if all(part_of(name) is not None for name in names):
        raise LoraPerfError(
            expected=f"classes in {folder}",
            found=f"the folders {listed(names)}, which name parts of a split, and no class below them"
            + ", since the folder of each adapter there is the adapter itself" * any(path.count("/") > 1 for path in paths),
            fix="move the adapters to part/class/adapter.safetensors, or write a metadata.csv with file_name, label and split",
        )
    return [Member(path, text_of(parts[0])) for path, parts in zip(paths, above, strict=True)]


def _of_partitions(folder: str, paths: Sequence[str], above: Sequence[tuple[str, ...]], label_column: str) -> list[Member]:
    """Folders that are named column=value, as Hive and Arrow write them."""
    found = []
    for path, parts in zip(paths, above, strict=True):
        values: dict[str, str] = {}
        for part in parts:
            name, _, value = part.partition("=")
            values[name] = "" if value == _NO_VALUE else text_of(urllib.parse.unquote(value))
        fix = "name the column of the labels with label_column=... (--label-column)"
        columns = label_columns(label_column)
        others = [name for name in values if name != SPLIT_COLUMN]
        if label_column == DEFAULT_COLUMN and len(others) == 1:
            columns = (*columns, *others)
        found.append(member_of(path, values, column_of(values, columns, "a folder of the label", folder, fix), path))
    return found


def _own_folders(tree: Tree, paths: Sequence[str]) -> set[str]:
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
