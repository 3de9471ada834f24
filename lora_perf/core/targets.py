"""Labels as numbers: which class each adapter belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError


def encode(values: Sequence[str | int]) -> tuple[Tensor, list[str]]:
    """Class indices (n,) and class names: in numerical order where all are numbers, if only as text, else alphabetical.

    Raises:
        LoraPerfError: both numbers and texts.

    >>> encode(["dog", "cat", "dog"])
    (tensor([1, 0, 1]), ['cat', 'dog'])
    """
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        examples = [next(value for value in values if type(value) is kind) for kind in (str, int)]
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
