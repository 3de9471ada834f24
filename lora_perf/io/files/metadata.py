"""The table of all adapters that a folder may hold: metadata.csv or metadata.jsonl, a row an adapter."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted
from lora_perf.io.files.tree import ADAPTER, parent
from lora_perf.io.headers import HeaderError, read_whole, reason, refuse_page

FILE_COLUMNS = ("file_name", "file", "path")
PEFT_WEIGHTS = "adapter_model.safetensors"
# Libraries give every adapter this name, so that the folder is the adapter and no class.
OWN_FOLDER = frozenset({PEFT_WEIGHTS, "pytorch_lora_weights.safetensors"})
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        path: of its adapter, relative to the folder of the table; as it is written where no adapter fits.
        known: whether an adapter fits.
        entries: by column.
        place: for messages.
    """

    path: str
    known: bool
    entries: dict[str, Any]
    place: str


def rows_of(table: str, paths: Sequence[str], left: frozenset[str] = frozenset()) -> list[Row]:
    """The rows of a table of adapters, each with the path of its adapter.

    A path may be written with backslashes, in another case, encoded as in an address, with the name of the folder before it,
    without its ending, or as the folder of the adapter, as long as only one adapter fits.

    Args:
        paths: of the adapters, relative to the folder of the table.
        left: adapters that need no row.

    Raises:
        LoraPerfError: a damaged table, or one without rows or a column of the files; a file outside the folder, twice or of
            several meanings; an adapter without a row.
    """
    entries = entries_of(table)
    if not entries:
        raise LoraPerfError(expected=f"a row for each adapter in {table}", found="no row", fix="fill the table or remove it")
    column = next((name for name in FILE_COLUMNS if name in entries[0]), None)
    if column is None:
        raise LoraPerfError(
            expected=f"a column of the files ({listed(FILE_COLUMNS)}) in {table}",
            found=f"the columns {listed(entries[0]) or 'of no name'}",
            fix="name it file_name",
        )
    places = _Places(os.path.dirname(table), paths)
    found: dict[str, Row] = {}
    for number, row in enumerate(entries, start=1):
        place = f"row {number} of {table}"
        path, known = places.find(row.get(column), place)
        if path in found:
            raise LoraPerfError(expected=f"one row a file in {table}", found=f"another for {path}", fix="remove one of the two")
        found[path] = Row(path, known, row, place)
    _refuse_missing(table, [path for path in paths if path not in found and path not in left], len(paths), found, column)
    return list(found.values())


def entries_of(table: str) -> list[dict[str, Any]]:
    """The rows of a table as they are written."""
    return _csv(table) if table.lower().endswith(".csv") else _jsonl(table)


def _refuse_missing(table: str, missing: Sequence[str], total: int, found: dict[str, Row], column: str) -> None:
    if not missing:
        return
    without = f"none for {len(missing)} of {total} ({listed(missing, 3)})"
    strangers = [row for row in found.values() if not row.known]
    fix = "add the rows, or move the files elsewhere"
    if strangers:
        first = strangers[0]
        without += (
            f", and {counted(len(strangers), 'row')} of no file here, the first {first.entries[column]!r} ({first.place})"
        )
        fix = "correct the paths in the table, which are relative to its folder"
    raise LoraPerfError(expected=f"a row in {table} for every adapter", found=without, fix=fix)


class _Places:
    """Which adapter of a folder a written path means."""

    def __init__(self, folder: str, paths: Sequence[str]) -> None:
        self._folder = folder
        self._paths = paths
        self._exact = set(paths)
        self._forms: dict[str, list[str]] | None = None

    def find(self, value: Any, place: str) -> tuple[str, bool]:
        """A path relative to the folder, and whether there is an adapter."""
        path = self._inside(value, place)
        if path in self._exact:
            return path, True
        if self._forms is None:
            self._forms = self._all_forms()
        name = os.path.basename(self._folder)
        shorter = path.removeprefix(f"{name}/")
        for one in dict.fromkeys((path, urllib.parse.unquote(path), shorter, urllib.parse.unquote(shorter))):
            some = self._forms.get(_plain(one), [])
            if len(some) > 1:
                raise LoraPerfError(
                    expected=f"a path of one adapter in {place}",
                    found=f"{value!r}, which may be {listed(some, 3)}",
                    fix="write the path as the folder has it",
                )
            if some:
                return some[0], True
        return path, False

    def _inside(self, value: Any, place: str) -> str:
        text = value if isinstance(value, str) else ""
        if text and text not in self._exact:
            text = text.replace("\\", "/")
            if text.startswith(f"{self._folder}/"):
                text = text[len(self._folder) + 1 :]
        path = posixpath.normpath(text) if text else ""
        if not path or path.startswith(("/", "../")) or path in (".", "..") or "\0" in path:
            raise LoraPerfError(
                expected=f"a file inside the folder in {place}", found=repr(value), fix="give a path relative to the folder"
            )
        return path

    def _all_forms(self) -> dict[str, list[str]]:
        beside = Counter(map(parent, self._paths))
        forms: dict[str, list[str]] = {}
        for path in self._paths:
            inner, _, name = path.rpartition("/")
            forms.setdefault(_plain(path), []).append(path)
            forms.setdefault(_plain(path[: -len(ADAPTER)]), []).append(path)
            if inner and (name.lower() in OWN_FOLDER or beside[inner] == 1):
                forms.setdefault(_plain(inner), []).append(path)
        return forms


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold().strip()


def read_object(path: str) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        entries = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(entries, dict):
        raise damaged(path, f"a {type(entries).__name__}, no JSON object")
    return entries


def damaged(path: str, found: str, fix: str = "repair or remove it") -> LoraPerfError:
    return LoraPerfError(expected=f"a readable {path}", found=found, fix=fix)


def _csv(path: str) -> list[dict[str, Any]]:
    text = _text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count) if any(mark in first for mark in _DELIMITERS) else ","
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter, skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = [{name: _stripped(value) for name, value in row.items()} for row in reader]
    except csv.Error as error:
        raise damaged(path, str(error)) from None
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise LoraPerfError(expected=f"each column once in {path}", found=f"{listed(twice)} twice", fix="rename one of them")
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise LoraPerfError(
                expected=f"{len(columns)} values in row {number} of {path}",
                found=f"{len(columns) + len(row[None])}",
                fix="put values that hold the delimiter in quotes",
            )
    while rows and not any(rows[-1].values()):  # as spreadsheets leave them
        rows.pop()
    return rows


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _jsonl(path: str) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in _text(path).split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    if not all(isinstance(row, dict) for row in rows):
        raise damaged(path, "a line that is no JSON object")
    return rows


def _text(path: str) -> str:
    """The text of a file; no pointer or page of the web in its place."""
    try:
        data = read_whole(path)
        refuse_page(data)
        # Spreadsheets begin a file with a byte order mark.
        return data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except OSError as error:
        raise damaged(path, reason(error, path)) from None
    except HeaderError as error:
        raise damaged(path, str(error), error.fix) from None
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from None
