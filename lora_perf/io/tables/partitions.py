"""Columns that stand in the path of a file, `label=cat/part-0.parquet`, as Spark, pandas and pyarrow write partitions."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePath
from urllib.parse import unquote

_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partitions(path: PurePath) -> dict[str, str | None]:
    """The columns in the folders of a path, with their values; None for a missing one.

    >>> partitions(PurePath("split=train/label=big%20cat/part-0.parquet"))
    {'split': 'train', 'label': 'big cat'}
    """
    if "=" not in str(path):  # opening costs the same however deep a folder lies
        return {}
    pairs = (folder.partition("=") for folder in path.parts[:-1])
    return {unquote(key): None if value == _MISSING else unquote(value) for key, equals, value in pairs if equals and key}


def in_path(path: Path, root: Path | None, label_column: str | None, columns: Collection[str]) -> dict[str, str | None]:
    """The columns in the path of a table, below and with the folder that was asked for; above it the labels alone.

    Args:
        root: the folder that was asked for, None where it was the file itself.
        columns: of the table.
    """
    every = partitions(path.absolute())
    found = {} if root is None else partitions(root.name / path.relative_to(root))
    if label_column is not None and label_column in every and label_column not in found and label_column not in columns:
        found[label_column] = every[label_column]
    return found
