"""What the files of a folder tell of its adapters beside weights and classes, as columns that are read when they are used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lora_perf.core.errors import listed
from lora_perf.core.metadata import Later
from lora_perf.core.text import counted
from lora_perf.io.files.reader import Reader
from lora_perf.io.files.tree import Tree
from lora_perf.io.plain import as_meant, is_plain, is_several

_UNTOLD = frozenset({"format"})  # "pt" in every file
_log = logging.getLogger(__name__)


def columns_of(folder: str, tree: Tree, paths: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of metadata by name: those of tables and descriptions first, then those of the files' own headers.

    Lists of texts or whole numbers that tables and descriptions give, several labels of an adapter, are such columns too; what
    else is nested (mappings, images as text) is left out.

    Args:
        entries: of tables and descriptions, for each of `paths`.
    """
    first: dict[str, Any] = {}
    for one in entries:
        if not one.keys() <= first.keys():
            first = {**one, **first}
    headers, n = _Headers(folder, tree, paths), len(paths)
    columns: dict[str, Any] = {
        name: Later(n, partial(_of_entries, entries, name))
        for name, value in first.items()
        if is_plain(value) or is_several(value)
    }
    if left := [name for name in first if name not in columns]:
        _log.warning(
            "%s: %s of metadata left out, since they are nested: %s", folder, counted(len(left), "column"), listed(left, 3)
        )
    for name, value in tree.headers.items():
        if name not in first and name not in _UNTOLD and is_plain(value):
            columns[name] = Later(n, partial(headers.column, name))
    return columns


def _of_entries(entries: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return as_meant([one.get(name) for one in entries])


class _Headers:
    """The entries of all headers, and of the configurations beside the files.

    Cost: each header is read once more, all of them when the first column is asked for.
    """

    def __init__(self, folder: str, tree: Tree, paths: Sequence[str]) -> None:
        self._folder, self._tree, self.paths = folder, tree, paths
        self._read: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        if not self._read:
            reader = Reader(self._folder, self._tree)
            found = [reader.entries(path) for path in self.paths]
            self._read = {known: [one.get(known) for one in found] for known in self._tree.headers}
        return as_meant(self._read[name])
