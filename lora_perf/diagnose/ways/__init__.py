"""The ways in which people read a data set of adapters: the lines that they write, and the same as a call on a sample.

A way is given the first adapters and some weight columns (of files: all tensors) and makes what its user is after: torch
tensors. Each says why it costs what it costs; what it costs is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from lora_perf.core.zoo import Zoo
from lora_perf.diagnose.subject import Subject
from lora_perf.diagnose.ways.buffers import COLUMN_TENSOR, column_tensor
from lora_perf.diagnose.ways.columns import group_rows, of_arrow, of_dataset, of_parquet
from lora_perf.diagnose.ways.files import of_adapters, of_packed
from lora_perf.diagnose.ways.way import Values, Way

__all__ = ["COLUMN_TENSOR", "Way", "column_tensor", "group_rows", "ways_of"]


def ways_of(subject: Subject) -> list[Way]:
    """The ways to read a kind of data set, each in the words of its users."""
    of_kind = {
        "dataset": of_dataset,
        "parquet": of_parquet,
        "arrow": of_arrow,
        "adapters": of_adapters,
        "packed": of_packed,
    }
    others = of_kind[subject.kind](subject) if subject.kind in of_kind else []
    return [*others, *_ours(subject)]


def _ours(subject: Subject) -> list[Way]:
    zoo = subject.zoo

    def some(n: int) -> Zoo:
        """The first adapters, of which the source has nothing decoded yet."""
        return Zoo(copy.copy(zoo.source), zoo.layout).select(range(n))

    def rows(n: int, _: Sequence[str]) -> Values:
        part = some(n)
        return [part.rows.clone() if part.source.mapped or part.in_memory else part.rows]

    def blocks(n: int, _: Sequence[str]) -> Values:
        return [block.sum() for _, block in some(n).blocks()]

    name = subject.source
    return [
        Way(
            "lora_perf: zoo.rows",
            f'zoo = lora_perf.load({name!r})\nrows = zoo.rows  # (n, p) float32, zoo.layer(NAME) is a view of it',
            "buffers are copied layer by layer into one matrix, nothing else is made",
            rows, by_rows=True, by_column=False, ours=True,
        ),
        Way(
            "lora_perf: zoo.blocks()",
            f"for rows, block in lora_perf.load({name!r}).blocks():\n    ...  # (b, p) in one buffer that is used again",
            "one block at a time in the same memory, however large the data set",
            blocks, by_rows=True, by_column=False, ours=True,
        ),
    ]  # fmt: skip
