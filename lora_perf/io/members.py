"""An adapter file of a folder with its class and its part, as names, tables and descriptions give them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed

DEFAULT_COLUMN = "category_label"
SPLIT_COLUMN = "split"
_OTHER_COLUMNS = ("label", "class")
# The names that parts of a split have in folders, files and tables.
_NAMES = (
    ("train", "training"),
    ("validation", "validate", "valid", "val", "dev", "eval", "evaluation"),
    ("test", "testing", "holdout", "heldout", "hold out", "held out"),
)
_PARTS = {name: part for part, names in enumerate(_NAMES) for name in names}
# What people put behind: train_set, testset, val-data.
_BEHIND = re.compile(r" ?(?:split|(?:data ?)?sets?|data)$")


@dataclass(frozen=True, slots=True)
class Member:
    """An adapter file of a folder.

    Attributes:
        path: relative to the folder.
        label: its class as it is written, "" where nothing names one.
        split: 0 train, 1 validation, 2 test, or None where nothing says it.
        error: why it cannot be used.
        entries: what metadata say of it, by column.
    """

    path: str
    label: str | int = ""
    split: int | None = None
    error: LoraPerfError | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def part_of(name: str) -> int | None:
    """0 train, 1 validation, 2 test, in whatever case it is written; None for every other name.

    >>> part_of("train"), part_of("Val"), part_of("test_set"), part_of("cat")
    (0, 1, 2, None)
    """
    plain = re.sub("[-_ ]+", " ", name.casefold())
    return _PARTS.get(plain, _PARTS.get(_BEHIND.sub("", plain)))


def label_columns(label_column: str | None) -> tuple[str, ...]:
    """The names that the column of the labels may have, the first one first; none where no labels are wanted."""
    if label_column is None:
        return ()
    return (DEFAULT_COLUMN, *_OTHER_COLUMNS) if label_column == DEFAULT_COLUMN else (label_column,)


def column_of(row: Mapping[str, Any], columns: Iterable[str], what: str, where: str, fix: str) -> str:
    """The first of some columns that a row has."""
    for column in columns:
        if column in row:
            return column
    raise LoraPerfError(
        expected=f"{what} ({listed(columns)}) in {where}", found=f"the columns {listed(row) or 'of no name'}", fix=fix
    )


def member_of(path: str, row: Mapping[str, Any], column: str | None, place: str, of_folder: int | None = None) -> Member:
    """An adapter with its label, if a column says it, and its part, which its row and its folder must agree in."""
    label: Any = "" if column is None else row.get(column)
    if column is not None and (not isinstance(label, str | int) or isinstance(label, bool) or label == ""):
        raise LoraPerfError(
            expected=f"a label, text or whole number, in column {column!r} for {path} ({place})",
            found=repr(label),
            fix="label the adapter or leave it out",
        )
    written = row.get(SPLIT_COLUMN)
    part = part_of(written) if isinstance(written, str) else None
    if (written is not None and part is None) or (None not in (of_folder, part) and of_folder != part):
        raise LoraPerfError(
            expected=f"train, validation or test in column 'split' for {path} ({place})",
            found=repr(written) if part is None else f"{written!r}, and another part as the name of its folder",
            fix="give every adapter its part, or leave the column out",
        )
    label = unicodedata.normalize("NFC", label) if isinstance(label, str) else label
    entries = {name: value for name, value in row.items() if name not in (column, SPLIT_COLUMN)}
    return Member(path, label, of_folder if part is None else part, entries=entries)


def split_of(found: Sequence[Member]) -> Tensor | None:
    """(n,) 0 train, 1 validation, 2 test, or None where nothing says it."""
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


def text_of(name: str) -> str:
    """A name as text that can be written anywhere: one spelling of each accent, and bytes that are no UTF-8 as \\xNN."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
