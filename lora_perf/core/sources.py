"""The source of a user's function: what a cached value of it depends on, beside the package's own code."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
import xxhash

# A tenth of the time of parsing.
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE)
_WORD = re.compile(r"[\w.]+")
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_FOLDERS = {"site-packages", "dist-packages"}  # of users and of other environments too, which Python may look into
_PACKAGE = __name__.partition(".")[0]
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST = 20  # functions that call each other


def owner_of(function: Callable[..., Any]) -> str | None:
    """The module and name of a user's function; None for one of the package itself."""
    plain = _unwrapped(function)
    module = getattr(plain, "__module__", "") or ""
    if module.partition(".")[0] == _PACKAGE:
        return None
    return f"{module}.{getattr(plain, '__qualname__', type(plain).__qualname__)}"


def source_version(function: Callable[..., Any]) -> str:
    """A hash of a user's function as it is now: "" for one of the package, whose code counts by itself (`code_version`).

    What counts: the file that it stands in and those of the user's own modules that this one imports, its compiled code and
    that of the functions that it calls, what it took over from around it, and its defaults. Libraries do not count.

        >>> def double(x):
        ...     return 2 * x
        >>> source_version(double) == source_version(double)
        True
    """
    if owner_of(function) is None:
        return ""
    digest = xxhash.xxh3_128()
    for path in sorted(_files(sys.modules.get(getattr(_unwrapped(function), "__module__", "") or ""))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for piece in _pieces(function, set(), 0):
        digest.update(piece.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def _files(module: ModuleType | None) -> set[Path]:
    """The files of a module and of all modules that it imports and that are no library: those of its own package never are."""
    found: set[Path] = set()
    waiting = [module]
    own = getattr(module, "__name__", "").partition(".")[0]
    while waiting:
        one = waiting.pop()
        name = getattr(one, "__file__", None)
        path = Path(name) if name else None
        if path is None or path in found or path.suffix != ".py" or not path.is_file():
            continue
        if _in_library(str(path)) and getattr(one, "__name__", "").partition(".")[0] != own:
            continue
        found.add(path)
        waiting += [sys.modules.get(each) for each in _imported(path.read_text(errors="replace"), one)]
    return found


def imported_names(text: str) -> Iterator[str]:
    """What a text imports, by names that may be those of modules; what looks like an import in a string counts too."""
    for module, lifted, modules in _IMPORT.findall(text):
        yield from [module, *(f"{module}.{name}" for name in _WORD.findall(lifted))] if module else _WORD.findall(modules)


def _imported(text: str, module: ModuleType | None) -> Iterator[str]:
    """Names of modules that the text of a module imports, as `sys.modules` may know them."""
    package = getattr(module, "__package__", None) or ""
    for name in map(str.strip, imported_names(text), repeat(".")):
        if name.partition(".")[0] != _PACKAGE:
            yield name
            yield f"{package}.{name}"  # a relative import


def _pieces(value: Any, seen: set[int], depth: int) -> Iterator[str]:
    """Texts that tell a value from another one, as far as a function's result may depend on it."""
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif id(value) in seen or depth > _DEEPEST:
        return
    elif isinstance(value, tuple | list | set | frozenset):
        seen.add(id(value))
        yield f"{type(value).__name__} of {len(value)}"
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        for item in items:
            yield from _pieces(item, seen, depth + 1)
    elif isinstance(value, dict):
        seen.add(id(value))
        yield f"mapping of {len(value)}"
        for key, item in value.items():
            yield from _pieces(key, seen, depth + 1)
            yield from _pieces(item, seen, depth + 1)
    elif isinstance(value, functools.partial):
        for item in (value.func, value.args, value.keywords):
            yield from _pieces(item, seen, depth + 1)
    elif isinstance(value, MethodType):
        for item in (value.__func__, getattr(value.__self__, "__dict__", None)):
            yield from _pieces(item, seen, depth + 1)
    elif isinstance(value, FunctionType):
        seen.add(id(value))
        if _is_users(value):
            yield from _of_function(value, seen, depth)
    elif isinstance(value, np.ndarray | torch.Tensor):
        array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
        yield f"{array.dtype} {array.shape} {xxhash.xxh3_128_hexdigest(array.tobytes())}"
    elif not isinstance(value, ModuleType | type) and hasattr(value, "__dict__") and _is_users(type(value)):
        seen.add(id(value))
        yield type(value).__qualname__
        yield from _pieces(vars(value), seen, depth + 1)
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__)


def _of_function(function: FunctionType, seen: set[int], depth: int) -> Iterator[str]:
    for code in _codes(function.__code__):
        yield code.co_code.hex()
        yield from _pieces([one for one in code.co_consts if not isinstance(one, CodeType)], set(), depth + 1)
        yield " ".join(code.co_names)
        for name in code.co_names:
            if name in function.__globals__:
                yield from _pieces(function.__globals__[name], seen, depth + 1)
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    for item in (function.__defaults__, function.__kwdefaults__, cells):
        yield from _pieces(item, seen, depth + 1)


def _is_users(part: Any) -> bool:
    """Whether a function or class stands in no library and not in this package."""
    if owner_of(part) is None:
        return False
    if part.__module__ == "__main__":  # of a notebook or a prompt, whatever program shows it
        return True
    file = getattr(sys.modules.get(part.__module__), "__file__", None)
    return part.__module__ not in sys.stdlib_module_names and not _in_library(str(file or ""))


def _in_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or not _FOLDERS.isdisjoint(Path(file).parts)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _codes(one)


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
