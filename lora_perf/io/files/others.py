"""Descriptions that lie among adapters and are of something else: of a folder of several, or of images."""

from __future__ import annotations

import os
from collections import Counter

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.files.metadata import FILE_COLUMNS, entries_of, read_object
from lora_perf.io.files.tree import ADAPTER, DESCRIPTION, Tree, parent
from lora_perf.io.headers import HeaderError, open_file
from lora_perf.io.members import label_columns, part_of


def leave_others(folder: str, tree: Tree, label_column: str | None) -> None:
    """Leaves descriptions alone that name no label and are of no adapter: nothing else in the folder counts less for them.

    A metadata.json beside several adapters describes their folder; a table whose rows are files of other endings describes
    images; one in a folder without adapters is of no adapter.

    Cost: such descriptions are read.
    """
    _leave_descriptions(folder, tree, label_column)
    for table in [table for table in tree.tables if not parent(table) or part_of(parent(table)) is not None]:
        above = f"{parent(table)}/" if parent(table) else ""
        if not any(path.startswith(above) for path in tree.adapters):
            tree.tables.remove(table)
            tree.leave("table{s} of a folder without adapters", table)
        elif _is_of_others(os.path.join(folder, table), label_column):
            tree.tables.remove(table)
            tree.leave("table{s} of other files than adapters, without labels,", table)


def _leave_descriptions(folder: str, tree: Tree, label_column: str | None) -> None:
    counts = Counter(map(parent, tree.adapters)) if tree.described else Counter[str]()
    for inner, path in [item for item in tree.described.items() if counts[item[0]] > 1]:
        try:
            entries = read_object(os.path.join(folder, path))
        except LoraPerfError:
            continue  # whoever needs it says so
        if entries.keys().isdisjoint(label_columns(label_column)):
            del tree.described[inner]
            tree.leave(f"{DESCRIPTION} beside several adapters and without a label", path)


def _is_of_others(table: str, label_column: str | None) -> bool:
    try:
        descriptor, _ = open_file(table)
        with os.fdopen(descriptor, "rb") as file:
            first = file.readline()
        if any(name.encode() in first for name in label_columns(label_column)):
            return False  # as nearly all tables; the others are read once more
        entries = entries_of(table)
    except (OSError, HeaderError, LoraPerfError):
        return False  # whoever needs it says so
    column = next((name for name in FILE_COLUMNS if entries and name in entries[0]), None)
    if column is None or not entries[0].keys().isdisjoint(label_columns(label_column)):
        return False
    endings = {os.path.splitext(str(row.get(column) or ""))[1].lower() for row in entries}
    return endings.isdisjoint(("", ADAPTER))
