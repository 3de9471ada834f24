"""The entry points that are wrapped, each as soon as its module is there."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from lora_perf.diagnose.watching.arrays import taken_out, wrap_loader, wrap_numpy, wrap_torch
from lora_perf.diagnose.watching.columns import wrap_datasets
from lora_perf.diagnose.watching.files import Files
from lora_perf.diagnose.watching.ledger import Ledger
from lora_perf.diagnose.watching.wraps import Told, Wraps

# What the calls of a method by its name are, where its object is of a type that cannot be wrapped (see `program`).
METHODS = ("tolist", "to_pylist", "to_pydict", "astype")


class Probes:
    """The wrappers, which stand while anybody watches: blocks that begin and end in any order share them."""

    _lock = threading.RLock()
    _shared: Probes | None = None

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._stack = ExitStack()

    @classmethod
    @contextmanager
    def installed(cls, ledger: Ledger) -> Iterator[Probes]:
        """Wraps what of the libraries is there, and what is imported later; all is as before when the last watch ends.

        Args:
            ledger: that is told of the calls.
        """
        with cls._lock:
            if (probes := cls._shared) is None:
                probes = Probes()
                try:
                    probes._install()
                except BaseException:
                    probes._stack.close()
                    raise
                cls._shared = probes
            probes.ledger.listeners += (ledger,)
        try:
            yield probes
        finally:
            with cls._lock:
                probes.ledger.listeners = tuple(one for one in probes.ledger.listeners if one is not ledger)
                if not probes.ledger.listeners:
                    cls._shared = None
                    probes._stack.close()

    def _install(self) -> None:
        pending = _by_module(Wraps(self.ledger, self._stack), Files())
        before = builtins.__import__

        def install() -> None:
            for name in [one for one in pending if one in sys.modules and _is_whole(one)]:
                if (wrap := pending.pop(name, None)) is not None:  # which may import the next one
                    wrap()

        def imported(name: str, *args: Any, **kwargs: Any) -> Any:
            found = before(name, *args, **kwargs)
            for one in pending:  # libraries import in functions that run often
                if one in sys.modules:
                    install()
                    break
            return found

        self._stack.enter_context(patch("builtins.__import__", imported))
        install()

    def method(self, name: str, thing: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call thing.name(...) of a program that was compiled for this."""
        function = getattr(thing, name)
        root = type(thing).__module__.partition(".")[0]
        if root not in ("torch", "numpy", "pyarrow", "pandas") or (place := self.ledger.place()) is None:
            return function(*args, **kwargs)

        def size(found: Any) -> Told:
            if root == "torch":
                return taken_out(thing, found)
            return _narrowed(thing, found) if name == "astype" else _to_lists(thing)

        return self.ledger.call(place, lambda: function(*args, **kwargs), size)


def _by_module(wraps: Wraps, files: Files) -> dict[str, Callable[[], None]]:
    """What wraps the entry points of each module."""

    def reads(module: str, *names: str) -> Callable[[], None]:
        return lambda: files.reads(wraps, sys.modules[module], *names)

    def safetensors(module: str) -> Callable[[], None]:
        def wrap() -> None:
            files.reads(wraps, sys.modules[module], "load_file")
            files.writes(wraps, sys.modules[module], "save_file", at=1)

        return wrap

    return {
        "torch": lambda: wrap_torch(wraps, files),
        "numpy": lambda: wrap_numpy(wraps, files),
        "datasets": lambda: wrap_datasets(wraps, files),
        "torch.utils.data": lambda: wrap_loader(wraps),
        "pandas": reads("pandas", "read_parquet", "read_csv", "read_pickle"),
        "pickle": lambda: files.pickles(wraps, sys.modules["pickle"]),
        "pyarrow.parquet": reads("pyarrow.parquet", "read_table"),
        "safetensors.torch": safetensors("safetensors.torch"),
        "safetensors.numpy": safetensors("safetensors.numpy"),
    }


def _is_whole(name: str) -> bool:
    """Whether a module was imported to its end."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


def _narrowed(thing: Any, found: Any) -> Told:
    wide = str(getattr(thing, "dtype", "")) == "float64"
    if wide and str(getattr(found, "dtype", "")) in ("float32", "float16"):
        return "float64", thing.size, thing.nbytes, None
    return None


def _to_lists(thing: Any) -> Told:
    values = _count(thing)
    return "to lists", values, int(getattr(thing, "nbytes", 4 * values)), None


def _count(thing: Any) -> int:
    """Values of an array, a tensor or a column of Arrow, nested ones included."""
    if hasattr(thing, "size") and isinstance(thing.size, int):
        return int(thing.size)
    nbytes = getattr(thing, "nbytes", None)
    return int(nbytes) // 4 if nbytes is not None else len(thing)
