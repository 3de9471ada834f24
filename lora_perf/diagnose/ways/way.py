"""A way to read: the lines that its users write, and the same as a call on a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Values = list[Tensor]  # of each column, (n, ...), or all values of the sample in some order


@dataclass(frozen=True)
class Way:
    """A way to read.

    Attributes:
        name: what its table calls it.
        code: the lines that its user writes.
        why: what it does to each value.
        call: (rows, columns) -> tensors; with `by_rows` all columns are read whatever is asked.
        by_rows: whether it reads whole adapters.
        by_column: whether its tensors are those of the columns that are asked for, in their order.
        expected: the same tensors by Arrow's buffers, where they are of columns.
        most: adapters that it can be given.
    """

    name: str
    code: str
    why: str
    call: Callable[[int, Sequence[str]], Values]
    by_rows: bool = False
    by_column: bool = True
    ours: bool = False
    expected: Callable[[int, Sequence[str]], Values] | None = None
    most: int | None = None
