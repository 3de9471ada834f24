"""Columns that stand in the path of a file, `label=cat/part-0.parquet`, as Spark, pandas and pyarrow write partitions."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import unquote

_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partitions(path: PurePath) -> dict[str, str | None]:
    """The columns in the folders of a path, with their values; None for a missing one.

    >>> partitions(PurePath("split=train/label=big%20cat/part-0.parquet"))
    {'split': 'train', 'label': 'big cat'}
    """
    pairs = (folder.partition("=") for folder in path.parts[:-1])
    return {unquote(key): None if value == _MISSING else unquote(value) for key, equals, value in pairs if equals and key}
