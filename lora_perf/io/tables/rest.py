"""Parquet files without their weights: what is left says all else of the adapters, and takes no room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from lora_perf.io.atomic import replacing
from lora_perf.io.tables.columns import read_columns

_CHUNK = 1 << 20


def keep_rest(file: Path, to: Path, *, first_group: bool) -> None:
    """Writes a parquet file again, of the same size and with the same footer, with holes where its weights stand.

    Args:
        first_group: keep its first row group whole, which tells the shapes.
    """
    with pq.ParquetFile(file) as opened:
        holes = sorted(_weights(opened, int(first_group)))
    size = file.stat().st_size
    with file.open("rb") as source, replacing(to) as target:
        target.truncate(size)
        done = 0
        for begin, end in [*holes, (size, size)]:
            source.seek(done)
            target.seek(done)
            while done < begin and (content := source.read(min(_CHUNK, begin - done))):
                target.write(content)
                done += len(content)
            done = max(done, end)


def _weights(file: pq.ParquetFile, first: int) -> Iterator[tuple[int, int]]:
    """The bytes from and to which columns of weights stand, from a row group on."""
    names = set(read_columns(file.schema_arrow).weights)
    for group in range(first, file.metadata.num_row_groups):
        columns = file.metadata.row_group(group)
        for place in range(columns.num_columns):
            column = columns.column(place)
            if column.path_in_schema.partition(".")[0] in names:
                begin = column.data_page_offset
                if column.dictionary_page_offset is not None:
                    begin = min(begin, column.dictionary_page_offset)
                yield begin, begin + column.total_compressed_size
