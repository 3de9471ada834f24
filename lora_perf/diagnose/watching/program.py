"""A program of somebody's, run unchanged under watch: its output, exit status and exceptions are its own."""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from lora_perf.core.errors import LoraPerfError
from lora_perf.diagnose.watching.findings import Watched
from lora_perf.diagnose.watching.ledger import is_of_user
from lora_perf.diagnose.watching.probes import METHODS
from lora_perf.diagnose.watching.watcher import Watching

_HOOK = "__lora_perf_method__"


def watch_program(path: Path | None = None, arguments: Sequence[str] = (), *, module: str | None = None) -> Watched:
    """Runs a program to its end and tells which of its lines lose time to conversions of data.

    Args:
        path: of a file, or
        module: the name of a module, as `python -m` takes it.
        arguments: that the program sees.

    Returns:
        what was found, with the status that the program ends with. An exception of the program is printed as Python prints it.

    Raises:
        LoraPerfError: there is no such program, or it is no Python.
        KeyboardInterrupt: passed on with the findings so far as its argument `watched`.
    """
    name, source, shown, package = _source(path, module)
    watching = Watching(name)
    main = ModuleType("__main__")
    main.__dict__.update(__file__=shown, __builtins__=builtins, __package__=package)
    with _as_main(main, [shown, *arguments], os.path.dirname(os.path.abspath(shown)) if module is None else os.getcwd()):
        try:
            with watching.probes.installed(), _methods_seen(watching):
                status = _run(source, shown, main)
        except KeyboardInterrupt as stop:
            stop.watched = watching.finish(130)  # type: ignore[attr-defined]
            raise
    return watching.finish(status)


def _source(path: Path | None, module: str | None) -> tuple[str, bytes, str, str | None]:
    """Name, text and file of a program, and the package that a module belongs to."""
    if module is not None:
        try:
            sys.path.insert(0, os.getcwd())
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{module}.__main__")
        except (ImportError, ValueError):
            spec = None
        finally:
            sys.path.remove(os.getcwd())
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise LoraPerfError(
                expected=f"a module {module} written in Python", found="none", fix="run it where python -m finds it"
            )
        return module, Path(spec.origin).read_bytes(), spec.origin, spec.parent
    assert path is not None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LoraPerfError(
            expected=f"a program at {path}", found=error.strerror or str(error), fix="give the path of a .py file"
        ) from None
    if b"\0" in text:
        raise LoraPerfError(expected=f"a program in Python at {path}", found="bytes that are no text", fix="give a .py file")
    return path.name, text, str(path), None


def _run(source: bytes, shown: str, main: ModuleType) -> int:
    try:
        exec(_compiled(source, shown), main.__dict__)
    except SystemExit as end:
        return _status(end)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _print(error)
        return 1
    return 0


def _status(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _print(error: BaseException) -> None:
    """An exception as Python prints it, without the frames that are ours."""
    own = os.path.dirname(__file__)
    error.__traceback__ = _without(error.__traceback__, own)
    hook = sys.excepthook
    if hook is sys.__excepthook__:
        traceback.print_exception(type(error), error, error.__traceback__)
    else:
        hook(type(error), error, error.__traceback__)


def _without(found: TracebackType | None, own: str) -> TracebackType | None:
    if found is None:
        return None
    rest = _without(found.tb_next, own)
    if found.tb_frame.f_code.co_filename.startswith(own):
        return rest
    return TracebackType(rest, found.tb_frame, found.tb_lasti, found.tb_lineno)


@contextmanager
def _as_main(main: ModuleType, words: list[str], folder: str) -> Iterator[None]:
    """What a program finds when Python starts it."""
    before = sys.modules["__main__"], sys.argv, sys.path[:]
    sys.modules["__main__"], sys.argv = main, words
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before


class _Methods(ast.NodeTransformer):
    """Calls of methods whose objects cannot be wrapped go through `Probes.method`; lines and columns stay."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in METHODS:
            return node
        hook = ast.copy_location(ast.Name(_HOOK, ast.Load()), node.func)
        name = ast.copy_location(ast.Constant(node.func.attr), node.func)
        return ast.copy_location(ast.Call(hook, [name, node.func.value, *node.args], node.keywords), node)


def _compiled(source: bytes, filename: str) -> CodeType:
    tree = _Methods().visit(ast.parse(source, filename))
    return compile(tree, filename, "exec", dont_inherit=True)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads modules of the program; nothing is written into its folders."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return _compiled(self.get_data(path), path)


class _Finder:
    """Finds modules that are files of the program, and no library's."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py") or not is_of_user(spec.origin):
            return None
        if not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def _methods_seen(watching: Watching) -> Iterator[None]:
    setattr(builtins, _HOOK, watching.probes.method)
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        # Threads and exit handlers of the program may still come to such a call.
        setattr(builtins, _HOOK, lambda name, thing, *args, **kwargs: getattr(thing, name)(*args, **kwargs))
