"""Arrow's own files: the file format (.arrow, .feather version 2) and the stream that `datasets` writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from lora_perf.errors import LoraPerfError
from lora_perf.sources.arrow import Part, zoo_of_parts
from lora_perf.sources.partitions import partitions
from lora_perf.zoo import Zoo

_MAGIC, _OLD = b"ARROW1", b"FEA1"


def open_ipc(path: Path, *, label_column: str, name: str) -> Zoo:
    """The zoo of one file of Arrow's, which is mapped: weights are read when they are used.

    Memory: a compressed file is decompressed whole.

    Raises:
        LoraPerfError: a damaged file, or one of Feather's first version; what `zoo_of_parts` refuses.
    """
    try:
        table = _table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:  # sizes in damaged files may be any
        raise LoraPerfError(
            expected=f"a whole Arrow file at {path}",
            found=(str(error).splitlines() or [type(error).__name__])[0],
            fix="write or fetch it again",
        ) from None
    in_path = partitions(path.absolute())
    labels = {label_column: in_path[label_column]} if label_column in in_path and label_column not in table.schema.names else {}
    return zoo_of_parts([Part(table, partitions=labels)], label_column=label_column, name=name)


def _table(path: Path) -> pa.Table:
    file = pa.memory_map(str(path))
    begin = file.read(len(_MAGIC))
    file.seek(0)
    if begin.startswith(_OLD):
        raise pa.ArrowInvalid("Feather version 1, which has no lists")
    return pa.ipc.open_file(file).read_all() if begin == _MAGIC else pa.ipc.open_stream(file).read_all()
