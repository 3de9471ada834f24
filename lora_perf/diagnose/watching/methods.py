"""Calls of methods whose objects cannot be wrapped: the program's own files are compiled so that these are seen."""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from lora_perf.diagnose.watching.ledger import is_of_user
from lora_perf.diagnose.watching.probes import METHODS, Probes

_HOOK = "__lora_perf_method__"


class _Methods(ast.NodeTransformer):
    """Calls of methods whose objects cannot be wrapped go through `Probes.method`; lines and columns stay."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in METHODS:
            return node
        hook = ast.copy_location(ast.Name(_HOOK, ast.Load()), node.func)
        name = ast.copy_location(ast.Constant(node.func.attr), node.func)
        call = ast.copy_location(ast.Call(hook, [name, node.func.value, *node.args], node.keywords), node)
        if (end := node.func.end_lineno) is not None and end > node.lineno:  # Python gives such a call the line of its name
            call.lineno, call.col_offset = end, (node.func.end_col_offset or 0) - len(node.func.attr)
        return call


def compiled(source: bytes, filename: str) -> CodeType:
    tree = _Methods().visit(ast.parse(source, filename))
    return compile(tree, filename, "exec", dont_inherit=True)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads modules of the program; nothing is written into its folders."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compiled(self.get_data(path), path)


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
def methods_seen(probes: Probes) -> Iterator[None]:
    setattr(builtins, _HOOK, probes.method)
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        # Threads and exit handlers of the program may still come to such a call.
        setattr(builtins, _HOOK, lambda name, thing, /, *args, **kwargs: getattr(thing, name)(*args, **kwargs))
