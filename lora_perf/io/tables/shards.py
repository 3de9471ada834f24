"""A table of adapters, or a part of one, as the readers of small columns see it: whatever it is stored in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError, first_line

_MISSING = "__HIVE_DEFAULT_PARTITION__"  # what Spark, pandas and pyarrow write for no value


@dataclass(frozen=True)
class Shard:
    """One table of a zoo.

    Attributes:
        schema: of its columns.
        rows: how many adapters it gives to the zoo.
        read: a column by its name, in the zoo's order.
        where: what it is called in messages, "" where it is the only one.
        partitions: columns that stand in its path (`label=cat/part-0.parquet`) with their one value, None where it is missing.
        class_names: of a column of ClassLabels; None for any other.
    """

    schema: pa.Schema
    rows: int
    read: Callable[[str], pa.ChunkedArray]
    where: str = ""
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    class_names: Callable[[str], list[str] | None] = lambda _: None

    @property
    def place(self) -> str:
        """Where it is, as the end of a phrase."""
        return f" of {self.where}" if self.where else ""

    @property
    def columns(self) -> list[str]:
        """The names of all columns, also of those in its path."""
        return [*self.schema.names, *(name for name in self.partitions if name not in self.schema.names)]

    def kind(self, name: str) -> str:
        """The type of a column as it is stored, for messages."""
        return str(self.schema.field(name).type) if name in self.schema.names else "a part of the path"

    def column(self, name: str) -> pa.ChunkedArray:
        """The values of a small column, one an adapter, without dictionaries, views and extensions.

        Raises:
            LoraPerfError: the column stands there twice, is damaged, or says something else than the path.
        """
        if name not in self.schema.names:
            return pa.chunked_array([pa.array([self.partitions[name]] * self.rows, pa.large_string())])
        if len(self.schema.get_all_field_indices(name)) > 1:
            raise LoraPerfError(
                expected=f"one column {name!r}{self.place}",
                found=f"{len(self.schema.get_all_field_indices(name))} of this name",
                fix="rename or remove the others",
            )
        values = self.read(name)
        try:
            values.validate(full=True)  # Arrow itself would follow damaged offsets out of the file
            plain = _plain(values)
        except pa.ArrowException as error:
            raise LoraPerfError(
                expected=f"one value per adapter{self.place} in column {name!r}",
                found=f"damaged values ({first_line(error)})",
                fix="write or fetch the data set again",
            ) from None
        if name in self.partitions:
            self._agree(name, plain)
        return plain

    def _agree(self, name: str, values: pa.ChunkedArray) -> None:
        stated = self.partitions[name]
        others = [value for value in pc.unique(values).to_pylist() if (None if value is None else str(value)) != stated]
        if others:
            raise LoraPerfError(
                expected=f"the value of {name!r} in the path{self.place} ({stated}) in its column too",
                found=f"{others[0]!r}",
                fix="move the file, or repair the column",
            )

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers as float64 (rows,); lists of one number count as that number, a null is nan."""
        values = self.column(name)
        kind = values.type
        try:
            while pa.types.is_nested(kind):
                flat = pc.list_flatten(values)
                if len(flat) != self.rows or not pc.all(pc.equal(pc.list_value_length(values), 1)).as_py():
                    raise _no_numbers(name, self, f"lists of type {kind}, not one number a row")
                values, kind = flat, flat.type
            numbers: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
        except pa.ArrowException:
            raise _no_numbers(name, self, f"type {kind}") from None
        return numbers


@contextmanager
def whole(path: Path, kind: str, *more: type[Exception]) -> Iterator[None]:
    """Refuses a file that pyarrow finds damaged while it is read, which it says by many kinds of errors; some by `more`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, *more) as error:
        raise LoraPerfError(
            expected=f"a whole {kind} file at {path}", found=first_line(error), fix="write or fetch it again"
        ) from None


def _no_numbers(name: str, shard: Shard, found: str) -> LoraPerfError:
    return LoraPerfError(
        expected=f"one number an adapter in column {name!r}{shard.place}",
        found=found,
        fix="store numbers there, or rename the column if it is no part of the adapters",
    )


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values without extension, dictionary, runs or views; texts as large_string."""
    kind = values.type
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            values = values.cast(kind.storage_type)
        elif pa.types.is_run_end_encoded(kind):
            values = pc.run_end_decode(values)
        elif pa.types.is_dictionary(kind):
            # Each chunk has a dictionary of its own, which may hold nulls.
            chunks = [_plain(pa.chunked_array([chunk.dictionary])).take(chunk.indices) for chunk in values.chunks]
            values = pa.chunked_array(
                [piece for chunk in chunks for piece in chunk.chunks], _plain(pa.chunked_array([], kind.value_type)).type
            )
        elif kind.id in _TEXTS:
            return values.cast(pa.large_string())
        else:
            return values
        kind = values.type


_TEXTS = frozenset(kind.id for kind in (pa.string(), pa.string_view()))


def called(paths: Sequence[Path]) -> list[str]:
    """What files are called in messages: by their names, where those differ."""
    return [path.name if len({path.name for path in paths}) == len(paths) else str(path) for path in paths]


def partitions(path: PurePath) -> dict[str, str | None]:
    """The columns in the folders of a path (`label=cat/part-0.parquet`), with their values; None for a missing one.

    >>> partitions(PurePath("split=train/label=big%20cat/part-0.parquet"))
    {'split': 'train', 'label': 'big cat'}
    """
    if "=" not in str(path):  # opening costs the same however deep a folder lies
        return {}
    pairs = (folder.partition("=") for folder in path.parts[:-1])
    return {unquote(key): None if value == _MISSING else unquote(value) for key, equals, value in pairs if equals and key}


def in_path(path: Path, root: Path | None, label_column: str | None, columns: Collection[str]) -> dict[str, str | None]:
    """The columns in the path of a table, below and with the folder that was asked for (`root`); above it the labels alone."""
    every = partitions(path.absolute())
    found = {} if root is None else partitions(root.name / path.relative_to(root))
    if label_column is not None and label_column in every and label_column not in found and label_column not in columns:
        found[label_column] = every[label_column]
    return found
