"""A data set that is diagnosed: what it is, and how it is stored."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.showing import size
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo
from lora_perf.io import load, locate, open_located
from lora_perf.io.opening import saved
from lora_perf.io.paths import Found
from lora_perf.zoos import EMBEDDED

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["dataset", "parquet", "arrow", "adapters", "packed", "zoo"]
_FILES = 200  # of which the page cache is asked


@dataclass(frozen=True)
class Subject:
    """What is diagnosed.

    Attributes:
        zoo: as lora_perf opens it.
        source: what to give to `lora_perf.load`, for the lines of code that are shown.
        data: the `datasets.Dataset` that its users would read, where it is one.
        files: that hold the weights.
        columns: of the weights, in tables.
        storage: (what, in words).
    """

    kind: Kind
    zoo: Zoo
    source: str
    data: Any = None
    files: tuple[Path, ...] = ()
    columns: tuple[str, ...] = ()
    storage: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def subject_of(source: Any, label_column: str | None = None, split: str | None = None) -> Subject:
    """Opens a data set; no weight is read.

    Raises:
        LoraPerfError: what `load` refuses; what holds no weights that others could read.
    """
    if isinstance(source, str | Path):
        path = EMBEDDED.get(str(source), source)
        found = locate(path, split)
        if found is None:  # of the Hub
            from lora_perf.io.hub import fetch, target_of

            return _of_data(fetch(target_of(str(source)), split), str(source), split, label_column)
        if found.kind == "saved":
            return _of_data(saved(found.path), str(source), split, label_column)
        return _of_files(found, str(source), label_column, split)
    if isinstance(source, Zoo):
        return Subject("zoo", source, source.name, storage=(("storage", "rows of a zoo that is open already"),))
    if type(source).__module__.startswith("datasets."):
        return _of_data(source, "dataset", split, label_column)
    raise LoraPerfError(
        expected="a path, the name of an embedded zoo, a Hub id or a datasets.Dataset to diagnose",
        found=f"a {type(source).__name__}",
        fix="save it first, or open it with lora_perf.load",
    )


def _of_data(data: Any, source: str, split: str | None, label_column: str | None) -> Subject:
    import datasets

    from lora_perf.io.tables.columns import read_columns

    part = ""
    if isinstance(data, datasets.DatasetDict):
        name = split if split in data else next(iter(data))
        part, data = f" (its part {name} of {listed(data)})", data[name]
    zoo = load(data, label_column=label_column)
    zoo.name = os.path.basename(source.rstrip("/")) or source
    table = data.data.table
    columns = tuple(read_columns(table.schema).weights)
    files = tuple(Path(file["filename"]) for file in data.cache_files)
    facts = [
        (
            "storage",
            f"a datasets.Dataset{part}, " + (f"Arrow in {counted(len(files), 'file')}" if files else "Arrow in memory"),
        ),
        *_of_table(table, columns),
        ("rows", "in the order of the table" if data._indices is None else f"by an indices mapping of {len(data):,} rows"),
        *_cached(files),
    ]
    return Subject("dataset", zoo, source, data, files, columns, tuple(facts))


def _of_files(found: Found, source: str, label_column: str | None, split: str | None) -> Subject:
    zoo = open_located(found, label_column=label_column, split=split)
    files = tuple(Path(found.folder, one) for one in found.files)
    if found.kind == "adapters":
        files = tuple(one for one in files if one.suffix.lower() == ".safetensors")
        facts = [
            ("storage", f"{counted(len(files), 'safetensors file')} of an adapter each, {_per_file(files)}"),
            *_cached(files),
        ]
        return Subject("adapters", zoo, source, files=files, storage=tuple(facts))
    if found.kind == "packed":
        facts = [
            ("storage", f"a packed file: one float32 matrix {zoo.source.n:,} x {zoo.source.p:,}, row by row"),
            *_cached(files),
        ]
        return Subject("packed", zoo, source, files=files, storage=tuple(facts))
    if found.kind in ("parquet", "arrow"):
        from lora_perf.io.tables.columns import read_columns

        schema, facts = _of_parquet(files) if found.kind == "parquet" else _of_ipc(files)
        columns = tuple(read_columns(schema).weights)
        facts = [facts[0], *_types(schema, columns), *facts[1:], *_cached(files)]
        return Subject(found.kind, zoo, source, files=files, columns=columns, storage=tuple(facts))
    return Subject("zoo", zoo, source, storage=(("storage", f"what the reader of {found.kind} opens"),))


def _per_file(files: Sequence[Path]) -> str:
    some = [path.stat().st_size for path in files[:_FILES]]
    return f"{size(int(np.mean(some)))} each" if some else "none"


def _types(schema: pa.Schema, columns: Sequence[str]) -> list[tuple[str, str]]:
    kinds: dict[str, int] = {}
    for name in columns:
        kind = _named(schema.field(name).type)
        kinds[kind] = kinds.get(kind, 0) + 1
    told = listed([f"{count} of type {kind}" for kind, count in kinds.items()], 3)
    return [("weight columns", f"{len(columns)}: {told}")]


def _named(kind: pa.DataType) -> str:
    """The type of a column as people write it: list<list<float>>, Array2D of list<list<float>>."""
    text = re.sub(r"<(element|item|l): ", "<", str(getattr(kind, "storage_type", kind)))
    own = re.search(r"(Array\dD)", str(kind))
    return f"{own[1]} of {text}" if own else text


def _of_table(table: pa.Table, columns: Sequence[str]) -> list[tuple[str, str]]:
    chunks = table.column(columns[0]).num_chunks
    each = f", {table.num_rows / chunks:,.0f} adapters a chunk" if chunks > 1 else ""
    return [*_types(table.schema, columns), ("chunks of a column", f"{chunks}{each}")]


def _of_parquet(files: Sequence[Path]) -> tuple[pa.Schema, list[tuple[str, str]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(files[0]) as file:
        metadata, schema = file.metadata, file.schema_arrow
    group = metadata.row_group(0)
    kinds = sorted({group.column(i).compression.lower() for i in range(group.num_columns)})
    encodings = sorted({one for i in range(min(8, group.num_columns)) for one in group.column(i).encodings})
    return schema, [
        ("storage", f"parquet in {counted(len(files), 'file')}"),
        ("row groups", f"{metadata.num_row_groups} in the first file, {group.num_rows:,} adapters in its first"),
        ("compression", f"{listed(kinds)}; encodings {listed(encodings)}"),
    ]


def _of_ipc(files: Sequence[Path]) -> tuple[pa.Schema, list[tuple[str, str]]]:
    import pyarrow as pa

    with pa.memory_map(str(files[0])) as source:
        try:
            with pa.ipc.open_file(source) as file:
                schema = file.schema
        except pa.ArrowInvalid:
            source.seek(0)
            with pa.ipc.open_stream(source) as stream:
                schema = stream.schema
    return schema, [("storage", f"Arrow's own format in {counted(len(files), 'file')}")]


def _cached(files: Sequence[Path]) -> list[tuple[str, str]]:
    share = cached_share(files[:_FILES])
    if share is None:
        return []
    word = "cold" if share < 0.05 else "warm" if share > 0.95 else "partly warm"
    return [
        ("page cache", f"{word}: {share:.0%} of its bytes are in memory" + ", and timings are of warm pages" * (share < 0.95))
    ]


def cached_share(files: Sequence[Path]) -> float | None:
    """The share of files' pages that the page cache holds; None where the system does not tell."""
    try:
        ask = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError):
        return None
    held = pages = 0
    for path in files:
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
                view = np.frombuffer(mapping, np.uint8)
                count = -(-len(view) // mmap.PAGESIZE)
                told = (ctypes.c_ubyte * count)()
                failed = ask(ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(len(view)), told)
                del view
        except (OSError, ValueError):
            continue
        if failed:
            return None
        held += sum(one & 1 for one in bytes(told))
        pages += count
    return held / pages if pages else None
