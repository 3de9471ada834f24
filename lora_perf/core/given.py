"""Numbers as a user gives them, made the tensors and arrays that a zoo is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError

_NUMBERS = "fiub"  # kinds of NumPy's types


def floats_of(given: Any, what: str) -> NDArray[np.float32]:
    """Numbers as an array of float32, which shares the memory of what is one already.

    >>> floats_of([[1, 2], [3, 4]], "rows").dtype
    dtype('float32')

    Raises:
        LoraPerfError: something else than numbers.
    """
    try:
        if isinstance(given, Tensor):
            return given.detach().to("cpu", torch.float32).contiguous().numpy()
        found = np.asarray(given)
        if found.dtype.kind in _NUMBERS:
            return np.ascontiguousarray(found, np.float32)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors without data
        pass
    raise _no_numbers(given, what, "numbers")


def whole_of(given: Any, what: str) -> Tensor:
    """Whole numbers as a tensor; tensors of whole numbers stay what they are.

    >>> whole_of([0.0, 2.0], "labels"), whole_of(np.array([1, 0]), "labels")
    (tensor([0, 2]), tensor([1, 0]))

    Raises:
        LoraPerfError: something else than whole numbers.
    """
    try:
        found = given if isinstance(given, Tensor) else torch.from_numpy(_counted(given))
        if not (found.is_floating_point() or found.is_complex()):
            return found
        whole = found.to(torch.int64)
        if bool((whole == found).all()):
            return whole
    except (TypeError, ValueError, RuntimeError):  # as above
        pass
    raise _no_numbers(given, what, "whole numbers")


def _counted(given: Any) -> NDArray[Any]:
    found = np.asarray(given)
    if found.dtype.kind not in _NUMBERS:
        raise TypeError(found.dtype)
    return found.astype(np.int64 if found.dtype.kind in "iub" else np.float64)


def _no_numbers(given: Any, what: str, kind: str) -> LoraPerfError:
    about = f" of {given.dtype}" if hasattr(given, "dtype") else ""
    return LoraPerfError(
        expected=f"{kind} as {what}: a tensor, an array or a list",
        found=f"{type(given).__name__}{about}",
        fix=f"convert {what}",
    )
