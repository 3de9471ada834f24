"""What a caller has set for all of torch, and what this package needs instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from lora_perf.core.errors import LoraPerfError

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


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """So many threads of torch and of the libraries of linear algebra inside the block; as many as before after it.

    Args:
        count: None leaves them alone.

    >>> with with_threads(1):
    ...     torch.get_num_threads()
    1
    """
    refuse_threads(count)
    if count is None:
        yield
        return
    from threadpoolctl import threadpool_limits  # a part of scikit-learn's installation

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def refuse_threads(count: int | None) -> None:
    """Raises LoraPerfError for a number of threads that cannot be."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise LoraPerfError(expected="--threads of at least 1", found=str(count), fix="change --threads, or leave it out")
