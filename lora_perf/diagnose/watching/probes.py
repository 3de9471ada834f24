"""The entry points that are wrapped: what each call is, by its arguments and its result."""

from __future__ import annotations

import builtins
import functools
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from lora_perf.diagnose.watching.ledger import Ledger

# What the calls of a method by its name are, where its object is of a type that cannot be wrapped (see `program`).
METHODS = ("tolist", "to_pylist", "to_pydict", "astype")
_SMALL = 4096  # bytes of a piece that is small for a kernel of its own


class Probes:
    """The wrappers around a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._last_cat: dict[tuple[str, int], Any] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Wraps what of the libraries is there, and what is imported later; all is as before at the end."""
        with ExitStack() as stack:
            pending = self._by_module()
            before = builtins.__import__

            def install() -> None:
                for name in [one for one in pending if one in sys.modules and _is_whole(one)]:
                    if (wrap := pending.pop(name, None)) is not None:  # which may import the next one
                        wrap(stack)

            def imported(name: str, *args: Any, **kwargs: Any) -> Any:
                found = before(name, *args, **kwargs)
                for one in pending:  # libraries import in functions that run often
                    if one in sys.modules:
                        install()
                        break
                return found

            stack.enter_context(patch("builtins.__import__", imported))
            install()
            yield

    def _by_module(self) -> dict[str, Callable[[ExitStack], None]]:
        return {
            "torch": self._torch,
            "numpy": self._numpy,
            "datasets": self._datasets,
            "torch.utils.data": self._loader,
            "pandas": self._pandas,
            "pyarrow.parquet": lambda stack: self._reads(stack, "pyarrow.parquet", ["read_table"]),
            "safetensors.torch": lambda stack: self._reads(stack, "safetensors.torch", ["load_file"]),
            "safetensors.numpy": lambda stack: self._reads(stack, "safetensors.numpy", ["load_file"]),
        }

    def method(self, name: str, thing: Any, *args: Any, **kwargs: Any) -> Any:
        """A call thing.name(...) of a program that was compiled for this."""
        function = getattr(thing, name)
        root = type(thing).__module__.partition(".")[0]
        if root not in ("torch", "numpy", "pyarrow", "pandas") or (place := self.ledger.place()) is None:
            return function(*args, **kwargs)
        if root == "torch":
            return self.ledger.call(
                place, lambda: function(*args, **kwargs), lambda found: self._taken_out(found, (thing,), {})
            )
        if name == "astype":
            wide = str(getattr(thing, "dtype", "")) == "float64"

            def narrowed(found: Any) -> Any:
                is_narrower = wide and str(getattr(found, "dtype", "")) in ("float32", "float16")
                return ("float64", thing.size, thing.nbytes, None) if is_narrower else None

            return self.ledger.call(place, lambda: function(*args, **kwargs), narrowed)
        values = _count(thing)
        return self.ledger.call(
            place,
            lambda: function(*args, **kwargs),
            lambda _: ("to lists", values, int(getattr(thing, "nbytes", 4 * values)), None),
        )

    # torch

    def _torch(self, stack: ExitStack) -> None:
        import torch

        for name in ("tensor", "as_tensor"):
            self._wrap(stack, torch, name, self._made_of_lists)
        for name in ("stack", "cat"):
            self._wrap(stack, torch, name, self._joined)
        self._wrap(stack, torch, "load", self._loaded)
        for name in ("item", "tolist"):
            self._wrap(stack, torch.Tensor, name, self._taken_out)
        for name in ("float", "to"):
            self._wrap(stack, torch.Tensor, name, self._narrowed)
        self._wrap(stack, torch.Tensor, "cpu", self._fetched)

    def _made_of_lists(self, found: Any, args: Sequence[Any], _: Any) -> Any:
        data = args[0] if args else None
        if isinstance(data, list | tuple) or type(data).__module__.startswith("datasets."):
            kind = "column to tensor" if type(data).__module__.startswith("datasets.") else "list to tensor"
            if isinstance(data, list | tuple) and data and type(data[0]).__module__.partition(".")[0] in ("numpy", "torch"):
                kind = "list of arrays to tensor"
            return kind, found.numel(), found.nbytes, None
        return None

    def _joined(self, found: Any, args: Sequence[Any], _: Any) -> Any:
        pieces = args[0] if args else ()
        if not isinstance(pieces, list | tuple) or not pieces:
            return None
        if hasattr(found, "numel"):
            values, nbytes = found.numel(), found.nbytes
        else:
            values, nbytes = found.size, found.nbytes
        place = self.ledger.place(5)
        if len(pieces) <= 8 and place is not None:
            last = self._last_cat.get(place)
            last = None if last is None else last()
            grows = last is not None and any(one is last for one in pieces)
            self._last_cat[place] = _weak(found)
            if grows:
                return "grown in a loop", values, nbytes, None
        if nbytes / len(pieces) <= _SMALL:
            return "small pieces joined", len(pieces), nbytes, None
        return None

    def _taken_out(self, found: Any, args: Sequence[Any], _: Any) -> Any:
        tensor = args[0]
        if tensor.is_cuda:
            return "waits for the GPU", tensor.numel(), tensor.nbytes, None
        if isinstance(found, list):
            return "to lists", tensor.numel(), tensor.nbytes, None
        return ("value by value", 1, tensor.element_size(), None) if tensor._base is not None else None

    @staticmethod
    def _fetched(found: Any, args: Sequence[Any], _: Any) -> Any:
        return ("waits for the GPU", found.numel(), found.nbytes, None) if args[0].is_cuda else None

    @staticmethod
    def _narrowed(found: Any, args: Sequence[Any], _: Any) -> Any:
        if str(args[0].dtype) == "torch.float64" and str(found.dtype) in ("torch.float32", "torch.float16", "torch.bfloat16"):
            return "float64", found.numel(), args[0].nbytes, None
        return None

    # numpy

    def _numpy(self, stack: ExitStack) -> None:
        import numpy

        for name in ("array", "asarray"):
            self._wrap(stack, numpy, name, self._array_of_lists)
        for name in ("stack", "vstack", "concatenate"):
            self._wrap(stack, numpy, name, self._joined)
        self._wrap(stack, numpy, "load", self._loaded)

    @staticmethod
    def _array_of_lists(found: Any, args: Sequence[Any], _: Any) -> Any:
        data = args[0] if args else None
        if type(data).__module__.startswith("datasets."):
            return "column to tensor", found.size, found.nbytes, None
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple | float | int):
            return "list to tensor", found.size, found.nbytes, None
        return None

    # datasets

    def _datasets(self, stack: ExitStack) -> None:
        import datasets
        from datasets.arrow_dataset import Column

        probe = self

        def item(original: Any) -> Any:
            @functools.wraps(original)
            def got(self: Any, key: Any) -> Any:
                if isinstance(key, str) or (place := probe.ledger.place()) is None:
                    return original(self, key)
                data, names = _columns_of(self)
                rows = 1 if isinstance(key, int) else None

                def size(_: Any) -> Any:
                    count = (
                        rows
                        if rows is not None
                        else (len(range(*key.indices(len(data)))) if isinstance(key, slice) else len(key))
                    )
                    values, nbytes, nested = _size_of(data, names, count)
                    what = (data._fingerprint, tuple(names)[:4], _shown(key)) if rows is None else None
                    return _kind(data, nested, rows is not None), values, nbytes, what

                return probe.ledger.call(place, lambda: original(self, key), size)

            return got

        def iterator(original: Any) -> Any:
            @functools.wraps(original)
            def items(self: Any) -> Any:
                place = probe.ledger.place()
                if place is None:
                    return original(self)
                data, names = _columns_of(self)
                values, nbytes, nested = _size_of(data, names, 1)
                what = (data._fingerprint, tuple(names)[:4], "all")
                return probe.ledger.iterated(
                    place, _kind(data, nested, True), iter(original(self)), lambda _: (values, nbytes), what
                )

            return items

        for kind in (datasets.Dataset, Column):
            stack.enter_context(patch.object(kind, "__getitem__", item(kind.__getitem__)))
            stack.enter_context(patch.object(kind, "__iter__", iterator(kind.__iter__)))

        def frame(found: Any, args: Sequence[Any], _: Any) -> Any:
            data, names = _columns_of(args[0])
            values, nbytes, nested = _size_of(data, names, len(data))
            return ("objects of pandas", values, nbytes, None) if nested else None

        self._wrap(stack, datasets.Dataset, "to_pandas", frame)
        self._wrap(stack, datasets, "load_from_disk", self._loaded)

    def _loader(self, stack: ExitStack) -> None:
        from torch.utils.data import DataLoader, TensorDataset

        probe, original = self, DataLoader.__iter__

        @functools.wraps(original)
        def items(self: Any) -> Any:
            place = probe.ledger.place()
            data = self.dataset
            if place is None or not isinstance(data, TensorDataset):
                return original(self)
            nbytes = sum(one.nbytes for one in data.tensors) // max(1, len(data))
            size = self.batch_size or 1
            return probe.ledger.iterated(
                place, "loader of tensors", iter(original(self)), lambda _: (size, size * nbytes), None
            )

        stack.enter_context(patch.object(DataLoader, "__iter__", items))

    # files

    def _pandas(self, stack: ExitStack) -> None:
        self._reads(stack, "pandas", ["read_parquet", "read_csv"])

    def _reads(self, stack: ExitStack, module: str, names: Sequence[str]) -> None:
        for name in names:
            self._wrap(stack, sys.modules[module], name, self._loaded)

    @staticmethod
    def _loaded(_: Any, args: Sequence[Any], kwargs: Any) -> Any:
        path = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(path, str | os.PathLike):
            return None
        nbytes = _on_disk(os.fspath(path))
        return "file read", nbytes // 4, nbytes, (os.path.realpath(os.fspath(path)), nbytes)

    def _wrap(self, stack: ExitStack, owner: Any, name: str, size: Callable[[Any, Sequence[Any], Any], Any]) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return
        ledger, users = self.ledger, self.ledger.users

        def called(*args: Any, **kwargs: Any) -> Any:
            if users.get(sys._getframe(1).f_code) is False:  # the common case: a library's own call
                return original(*args, **kwargs)
            if (place := ledger.place()) is None:
                return original(*args, **kwargs)
            return ledger.call(place, lambda: original(*args, **kwargs), lambda found: size(found, args, kwargs))

        functools.update_wrapper(called, original, [one for one in functools.WRAPPER_ASSIGNMENTS if hasattr(original, one)])
        stack.enter_context(patch.object(owner, name, called))


def _is_whole(name: str) -> bool:
    """Whether a module was imported to its end."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


def _weak(found: Any) -> Any:
    try:
        return weakref.ref(found)
    except TypeError:
        return lambda: found


def _count(thing: Any) -> int:
    """Values of an array, a tensor or a column of Arrow, nested ones included."""
    if hasattr(thing, "size") and isinstance(thing.size, int):
        return int(thing.size)
    nbytes = getattr(thing, "nbytes", None)
    return int(nbytes) // 4 if nbytes is not None else len(thing)


def _columns_of(thing: Any) -> tuple[Any, list[str]]:
    """The data set behind a data set or a column of it, and the columns that are read."""
    names: list[str] | None = None
    while hasattr(thing, "column_name"):
        names, thing = [thing.column_name], thing.source
    return thing, names if names is not None and names[0] in thing.column_names else list(thing.column_names)


_widths: dict[tuple[str, str], tuple[int, bool]] = {}


def _width(data: Any, name: str) -> tuple[int, bool]:
    """Bytes of a row of a column, and whether it is nested."""
    import pyarrow as pa

    key = data._fingerprint, name
    if key not in _widths:
        column = data.data.table.column(name)
        nested = pa.types.is_nested(column.type) or isinstance(column.type, pa.ExtensionType)
        _widths[key] = int(column.nbytes) // max(1, len(column)), nested
    return _widths[key]


def _size_of(data: Any, names: Sequence[str], rows: int) -> tuple[int, int, bool]:
    """Values and bytes of some rows of columns, and whether some column is nested."""
    told = [_width(data, name) for name in names]
    nbytes = rows * sum(one for one, _ in told)
    return nbytes // 4, nbytes, any(nested for _, nested in told)


def _kind(data: Any, nested: bool, by_row: bool) -> str:
    if not nested:
        return "flat column"
    form = data.format["type"]
    if form in ("torch", "numpy"):
        return f"{form} formatter"
    if form is not None:
        return "flat column"
    return "row by row" if by_row else "column to lists"


def _shown(key: Any) -> str:
    return str(key) if isinstance(key, slice) else f"{len(key)} rows"


def _on_disk(path: str) -> int:
    try:
        if os.path.isdir(path):
            return sum(one.stat().st_size for one in itertools.islice(os.scandir(path), 1000) if one.is_file())
        return os.stat(path).st_size
    except OSError:
        return 0
