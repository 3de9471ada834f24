"""What a caller has set for all of torch, and what this package needs instead."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def in_plain_torch(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run outside of inference mode and with tensors made on the CPU unless it says otherwise.

    Threads of a pool share neither setting with the caller: a tensor that one makes could not be written by another.

    >>> make = in_plain_torch(lambda: torch.zeros(2))
    >>> with torch.inference_mode(), torch.device("meta"):
    ...     made = make()
    >>> made.device.type, made.is_inference()
    ('cpu', False)
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled() and torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.device("cpu"):
            return function(*args, **kwargs)

    return run
