"""Arrow's own files: the file format (.arrow, .feather version 2) and the stream that `datasets` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from lora_perf.core.zoo import Zoo
from lora_perf.io.identity import Opened
from lora_perf.io.splits import split_of_parts
from lora_perf.io.tables.arrow import Part, zoo_of_parts
from lora_perf.io.tables.shards import called, in_path, whole

_MAGIC, _OLD = b"ARROW1", b"FEA1"


def open_ipc(
    paths: Sequence[Path],
    *,
    label_column: str | None,
    name: str,
    root: Path | None = None,
    parts: Sequence[int | None] | None = None,
) -> Zoo:
    """The zoo of Arrow's own files, in the order of their names; they are mapped, and weights are read when they are used.

    For `root` and `parts` see `open_parquet`.

    Memory: a compressed file is decompressed whole.

    Raises:
        LoraPerfError: a damaged file, or one of Feather's first version; what `zoo_of_parts` refuses.
    """
    found = []
    for path, where in zip(paths, called(paths), strict=True):
        with whole(path, "Arrow", MemoryError):  # sizes in damaged files may be any
            opened = Opened([path])  # before it is mapped
            table = _table(path)
            columns = table.schema.names
        above = in_path(path, root, label_column, columns)
        found.append(Part(table, where=where if len(paths) > 1 else "", partitions=above, opened=opened))
    split = None if parts is None else split_of_parts([part.rows for part in found], parts, name)
    return zoo_of_parts(found, label_column=label_column, name=name, split=split)


def _table(path: Path) -> pa.Table:
    file = pa.memory_map(str(path))
    begin = file.read(len(_MAGIC))
    file.seek(0)
    if begin.startswith(_OLD):
        raise pa.ArrowInvalid("Feather version 1, which has no lists")
    return pa.ipc.open_file(file).read_all() if begin == _MAGIC else pa.ipc.open_stream(file).read_all()
