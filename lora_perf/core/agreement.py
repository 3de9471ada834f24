"""Whether the parts that a zoo is made of agree in their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.core.rows import RowSource
from lora_perf.core.split import SPLIT_NAMES


def check(
    source: RowSource,
    layout: Layout,
    labels: Tensor | None,
    classes: Sequence[str],
    split: Tensor | None,
    tables: Mapping[str, Tensor | None],
    names: Sized | None,
) -> None:
    """Refuses parts of a zoo that contradict each other.

    Raises:
        LoraPerfError: sizes that differ, no row, labels outside the classes, a split of other parts than three.
    """
    _check_sizes(source, layout, labels, classes)
    if split is not None and (tuple(split.shape) != (source.n,) or not 0 <= _least(split) <= _most(split) < len(SPLIT_NAMES)):
        raise LoraPerfError(
            expected="0, 1 or 2 (train, validation, test) for each row as split",
            found=f"shape {tuple(split.shape)}",
            fix="give every row its part or leave the split out",
        )
    for title, table in tables.items():
        if table is not None and tuple(table.shape) != (source.n, len(layout.modules)):
            raise LoraPerfError(
                expected=f"{title} of shape {(source.n, len(layout.modules))}, one for each module of each adapter",
                found=f"shape {tuple(table.shape)}",
                fix="give one number for each of layout.modules, or leave them out",
            )
    if names is not None and len(names) != source.n:
        raise LoraPerfError(
            expected=f"a name for each of {source.n} adapters", found=f"{len(names)}", fix="name all of them or none"
        )


def _check_sizes(source: RowSource, layout: Layout, labels: Tensor | None, classes: Sequence[str]) -> None:
    if source.p != layout.p or (labels is not None and tuple(labels.shape) != (source.n,)):
        shape = "" if labels is None else f" and labels of shape {tuple(labels.shape)}"
        raise LoraPerfError(
            expected=f"rows of {layout.p} parameters{'' if labels is None else ' and one label a row'}",
            found=f"{source.n} rows of {source.p}{shape}",
            fix="make layout, rows and labels agree",
        )
    if source.n == 0:
        raise LoraPerfError(expected="at least one adapter", found="none", fix="check the filter or the split of the data set")
    if labels is None:
        if classes:
            raise LoraPerfError(
                expected="labels with the classes, or neither", found=f"{len(classes)} classes alone", fix="give both or none"
            )
    elif not 0 <= _least(labels) <= _most(labels) < len(classes):
        raise LoraPerfError(
            expected=f"labels from 0 to {len(classes) - 1} ({listed(classes)})",
            found=f"labels from {_least(labels)} to {_most(labels)}",
            fix="give every label a class name",
        )


# By NumPy: torch shares even so little among its threads, which takes 50 ms where the cores are busy.
def _least(values: Tensor) -> int:
    return int(values.cpu().numpy().min())


def _most(values: Tensor) -> int:
    return int(values.cpu().numpy().max())
