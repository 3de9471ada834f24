"""What a zoo is made of: parts that agree in their sizes, labels as numbers, layers side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.given import floats_of
from lora_perf.core.layout import Layout
from lora_perf.core.rows import FloatRows, RowSource
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
    if split is not None and (tuple(split.shape) != (source.n,) or not _within(split, len(SPLIT_NAMES))):
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
    if len(set(classes)) < len(classes):
        twice = [name for name, count in Counter(classes).items() if count > 1]
        raise LoraPerfError(expected="classes of different names", found=f"{listed(twice)} twice", fix="give each class a name")
    if labels is None:
        if classes:
            raise LoraPerfError(
                expected="labels with the classes, or neither", found=f"{len(classes)} classes alone", fix="give both or none"
            )
    elif not _within(labels, len(classes)):
        raise LoraPerfError(
            expected=f"labels from 0 to {len(classes) - 1} ({listed(classes)})",
            found=f"labels from {int(labels.min())} to {int(labels.max())}",
            fix="give every label a class name",
        )


def _within(values: Tensor, stop: int) -> bool:
    array = values.cpu().numpy()  # torch shares even so little among its threads, which takes 50 ms where the cores are busy
    return bool(0 <= array.min() <= array.max() < stop)


def encode(values: Sequence[Any]) -> tuple[Tensor, list[str]]:
    """Class indices (n,) and class names: in numerical order where all are numbers, if only as text, else alphabetical.

    Raises:
        LoraPerfError: both numbers and texts, or something else than these.

    >>> encode(["dog", "cat", "dog"])
    (tensor([1, 0, 1]), ['cat', 'dog'])
    """
    kinds = {type(value) for value in values}
    for kind in kinds:
        if not issubclass(kind, str | int | np.integer | np.bool_):
            other = next(value for value in values if type(value) is kind)
            raise LoraPerfError(
                expected="labels that are texts or whole numbers",
                found=f"{other!r} of type {kind.__name__}",
                fix="give each adapter a class, or leave it out",
            )
    if len({issubclass(kind, str) for kind in kinds}) > 1:
        examples = [next(value for value in values if isinstance(value, str) is text) for text in (True, False)]
        raise LoraPerfError(
            expected="labels that are all texts or all whole numbers",
            found=f"both, such as {examples[0]!r} and {examples[1]!r}",
            fix="write all labels as texts",
        )
    distinct = sorted(set(values))
    if all(isinstance(value, str) and value.isdecimal() for value in distinct):
        distinct.sort(key=lambda value: (int(value), value))
    places = {value: place for place, value in enumerate(distinct)}
    labels = np.fromiter((places[value] for value in values), np.int64, len(values))
    return torch.from_numpy(labels), [str(value) for value in distinct]


def stacked(given: Mapping[str, Any]) -> tuple[list[tuple[str, tuple[int, int]]], FloatRows]:
    """The shapes of a layout and the rows (n, p) of layers (n, *shape) by their names."""
    layers = {name: floats_of(_listed(one), f"layer {name}") for name, one in given.items()}
    shapes = [(name, layer.shape) for name, layer in layers.items()]
    wrong = [f"{name} of shape {shape}" for name, shape in shapes if len(shape) != 3 or shape[0] != shapes[0][1][0]]
    if wrong or not shapes:
        raise LoraPerfError(
            expected="layers as tensors (n, rows, columns), one matrix an adapter, of the same n adapters",
            found=listed(wrong, 3) or "none",
            fix="stack the matrices of each layer: torch.stack([...])",
        )
    flat = [layer.reshape(len(layer), -1) for layer in layers.values()]
    return [(name, (shape[1], shape[2])) for name, shape in shapes], np.concatenate(flat, axis=1)


def _listed(layer: Any) -> Any:
    """What a list of tensors holds, which NumPy does not take in all types of torch."""
    return [floats_of(one, "a matrix") for one in layer] if isinstance(layer, list | tuple) else layer
