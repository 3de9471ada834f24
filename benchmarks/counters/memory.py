"""Bytes that one call makes, copies, reads and holds: torch, NumPy, Arrow, and the sources of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from typing import Any

import pyarrow as pa
import torch

from benchmarks import surface
from benchmarks.counters import arrays
from benchmarks.counters.operators import Operators, Seen
from benchmarks.counters.quiet import in_new_threads, quiet


def count_memory(call: Callable[[], Any], *, before: Callable[[], Any] | None = None) -> dict[str, int]:
    """Operators and bytes of one call, those of threads that it starts included."""
    _import_what_torch_needs()
    if before is not None:
        before()
    operators = Operators()

    @contextmanager
    def seen() -> Iterator[None]:
        with arrays.noted(), Seen(operators):
            yield

    pool = pa.default_memory_pool()
    arrays.taken()
    with quiet(), _rows_read() as read, in_new_threads(seen), seen():
        buffers, nbytes = pool.num_allocations(), pool.total_bytes_allocated()
        call()
        buffers, nbytes = pool.num_allocations() - buffers, pool.total_bytes_allocated() - nbytes
    sizes = arrays.taken()
    return {
        **operators.counts,
        "allocations": len(sizes) + buffers,
        "allocated_nbytes": sum(sizes) + nbytes,
        "rows_nbytes": sum(read),
        "torch_peak_nbytes": operators.peak,
    }


@cache
def _import_what_torch_needs() -> None:
    """Lets torch import what it imports when a process first watches its operators.

    Those imports catch errors whose tracebacks keep the frames below them, and so the tensors of the call, until garbage
    is collected.
    """
    with Seen(Operators()):
        torch.ones(1).clone()


@contextmanager
def _rows_read() -> Iterator[list[int]]:
    """The bytes of each `read` of each source of rows, in what it yields."""
    found: list[int] = []

    def noted(read: Callable[..., None]) -> Callable[..., None]:
        @wraps(read)
        def note(source: Any, start: int, stop: int, out: Any) -> None:
            found.append(4 * source.p * (stop - start))
            read(source, start, stop, out)

        return note

    with ExitStack() as stack:
        for kind in _sources():
            if "read" in vars(kind):
                stack.callback(setattr, kind, "read", kind.read)
                setattr(kind, "read", noted(kind.read))  # noqa: B010 - a method is not to be assigned, says mypy
        yield found


def _sources() -> list[Any]:
    """Every class of sources of rows; none in an older package without them, which then reads nothing that counts."""

    def kinds(one: Any) -> list[Any]:
        return [one, *(kind for child in one.__subclasses__() for kind in kinds(child))]

    found = getattr(surface, "RowSource", None)
    return [] if found is None else kinds(found)
