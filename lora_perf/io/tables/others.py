"""The columns of a table that are no weights and no labels: the metadata of its adapters, and what these are called."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from lora_perf.core.errors import listed
from lora_perf.core.metadata import Column, Later, Metadata
from lora_perf.core.text import counted
from lora_perf.io.members import SPLIT_COLUMN
from lora_perf.io.tables.meaning import Meaning
from lora_perf.io.tables.shards import Shard

# Of columns that tell adapters apart, the first that a table has.
NAME_COLUMNS = (
    *("id", "name", "file_name", "filename", "file", "path"),
    *("adapter_id", "adapter_name", "lora_id", "model_id", "uid"),
)
_WEIGHT_BITS = 8
_log = logging.getLogger(__name__)


def metadata_of(shards: Sequence[Shard], meaning: Meaning, label_column: str | None, where: str) -> Metadata:
    """All columns of numbers, texts and truths that are no part of the adapters, nor their labels or split.

    Lists of texts, ClassLabels or whole numbers, several labels of an adapter, are such columns too; those of 8 bits, as which
    weights are stored, and all else that is nested are left out. Nothing is read before it is used.
    """
    columns: dict[str, TableColumn] = {}
    left = []
    every: dict[str, None] = {}
    for shard in shards:
        every |= dict.fromkeys(shard.columns)
    for name in every:
        if name in meaning.tensors or name in (label_column, SPLIT_COLUMN):
            continue
        if all(_is_plain(shard, name) for shard in shards):
            columns[name] = TableColumn(name, shards)
        else:
            left.append(name)
    if left:
        count = counted(len(left), "column")
        _log.info("%s: %s left out of the metadata, since they are nested: %s", where, count, listed(left, 3))
    return Metadata(columns, sum(shard.rows for shard in shards))


def names_of(metadata: Metadata) -> Column | None:
    """The names of adapters by the first column that is called as such; None where there is none."""
    by_lower = {name.lower(): name for name in reversed(list(metadata))}
    found = next((by_lower[name] for name in NAME_COLUMNS if name in by_lower), None)
    return None if found is None else Column(Later(metadata.n, partial(_names, metadata.columns[found])))


def _names(column: Column) -> list[Any]:
    """The names that a column gives; numbers of rows where it gives two adapters one name, or one adapter a list of them."""
    names = column.values()
    single = not any(isinstance(name, list | tuple | set | dict) for name in names) and len(set(names)) == len(names)
    return [str(name) if single and name is not None else f"row {i}" for i, name in enumerate(names)]


def _is_plain(shard: Shard, name: str) -> bool:
    if name not in shard.schema.names:
        return True  # a part of its path, or missing in this shard
    of, kind = pa.types, _bare(shard.schema.field(name).type)
    if _is_list(kind):
        kind = _bare(kind.value_type)
        return _is_text(kind) or bool(of.is_integer(kind) and kind.bit_width > _WEIGHT_BITS)
    return bool(_is_text(kind) or of.is_primitive(kind) or of.is_decimal(kind) or of.is_null(kind))


def _bare(kind: Any) -> Any:
    """A type without what it is stored as: a dictionary, runs."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def _is_list(kind: Any) -> bool:
    of = pa.types
    return any(
        is_one(kind) for is_one in (of.is_list, of.is_large_list, of.is_fixed_size_list, of.is_list_view, of.is_large_list_view)
    )


def _is_text(kind: Any) -> bool:
    of = pa.types
    return bool(of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind))


class TableColumn:
    """A small column of the tables of one zoo, which is read when it is used."""

    def __init__(self, name: str, shards: Sequence[Shard]) -> None:
        self._name, self._shards = name, shards
        self._rows = sum(shard.rows for shard in shards)
        self._values: list[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:  # the tables would go along with all their weights
        return self.__dict__ | {"_shards": (), "_values": self.to_pylist()}

    def __len__(self) -> int:
        return self._rows

    def to_pylist(self) -> list[Any]:
        """(n) plain values, those of ClassLabels by their names; None where a shard has no such column."""
        if self._values is not None:
            return self._values
        values: list[Any] = []
        for shard in self._shards:
            values += _values(shard, self._name) if self._name in shard.columns else [None] * shard.rows
        return values


def _values(shard: Shard, name: str) -> list[Any]:
    column = shard.column(name)
    if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    if names := shard.class_names(name):

        def called(value: Any) -> Any:
            if isinstance(value, list):
                return [called(one) for one in value]
            return names[value] if isinstance(value, int) and 0 <= value < len(names) else value

        return [called(value) for value in values]
    return values
