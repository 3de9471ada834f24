"""Fresh memory of NumPy's arrays, by an allocator that notes each size before it asks NumPy's own.

The peaks of `tracemalloc` do not see a copy that is soon given back; an allocator sees them all. NumPy lets one be set for
a thread (`PyDataMem_SetHandler`, NEP 49), in C; these are the places of that interface and the form of its argument. The file
stands alone: it is loaded where another package of this name may be the one that is measured.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

_SET_HANDLER, _GET_HANDLER = 304, 305  # places in NumPy's table of functions, which are part of its binary interface
_NAME = b"mem_handler"
_MALLOC = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)  # result, then arguments
_CALLOC = (*_MALLOC, ctypes.c_size_t)


class _Handler(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


def _pointer(capsule: Any, name: bytes | None) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(capsule, name))


def _function(place: int, *arguments: Any) -> Any:
    table = ctypes.cast(_pointer(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(table[place])


_sizes: list[int] = []  # of the arrays that were made in a counting context, of any thread; appending is atomic


@cache
def _counting_handler() -> Any:
    """The capsule of a handler that counts; it is never given back, since arrays that it made may outlive everything."""
    default = _Handler.from_address(_pointer(_function(_GET_HANDLER)(), _NAME))
    # NumPy calls them with Python's lock and lets it go inside, so it must not be let go on the way.
    malloc, calloc = ctypes.PYFUNCTYPE(*_MALLOC)(default.malloc), ctypes.PYFUNCTYPE(*_CALLOC)(default.calloc)

    def noted_malloc(context: int, size: int) -> Any:
        _sizes.append(size)
        return malloc(context, size)

    def noted_calloc(context: int, count: int, size: int) -> Any:
        _sizes.append(count * size)
        return calloc(context, count, size)

    handler = _Handler.from_buffer_copy(default)  # growing and freeing stay NumPy's own: they need no Python
    callbacks = (ctypes.CFUNCTYPE(*_MALLOC)(noted_malloc), ctypes.CFUNCTYPE(*_CALLOC)(noted_calloc))
    handler.malloc, handler.calloc = (ctypes.cast(one, ctypes.c_void_p).value for one in callbacks)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = new(ctypes.addressof(handler), _NAME, None)
    for one in (handler, *callbacks, _NAME, capsule):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
    return capsule


@contextmanager
def noted() -> Iterator[None]:
    """The arrays that this thread makes are counted."""
    set_handler = _function(_SET_HANDLER, ctypes.py_object)
    before = set_handler(_counting_handler())
    try:
        yield
    finally:
        set_handler(before)


def taken() -> list[int]:
    """The sizes noted since the last question."""
    found = _sizes[:]
    _sizes.clear()
    return found
