"""Which tests a change can touch: those whose file, or a file that it imports, directly or not, differs from the base."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path


def touches(file: Path, changed: set[Path], root: Path, known: dict[Path, bool] | None = None) -> bool:
    """Whether a file, what it imports within a root, or a `conftest.py` above it is among those that changed.

    Args:
        changed: resolved paths.
        root: imports that lead out of it are not followed.
        known: what was found of files before; filled.
    """
    known = {} if known is None else known
    waiting, seen = [file.resolve()], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path in changed:
            return True
        beside = [folder / "conftest.py" for folder in path.parents if folder == root or root in folder.parents]
        waiting += [one for one in beside if one.exists()]
        waiting += _imported(path, root)
    return False


def _imported(path: Path, root: Path) -> Iterator[Path]:
    """The files within a root that a file imports, at its top or inside a function."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _files(one.name.split("."), root)
        elif isinstance(node, ast.ImportFrom):
            within = path.parents[node.level - 1] if node.level else None
            words = node.module.split(".") if node.module else []
            for one in node.names:
                yield from _files([*words, one.name], root, within)


def _files(words: list[str], root: Path, within: Path | None = None) -> Iterator[Path]:
    """The files of a dotted name, with the `__init__` of the packages on the way, wherever the path of imports leads."""
    places = [within] if within is not None else [root, root / "src", *(Path(place or ".") for place in sys.path)]
    for place in places:
        folder = place.resolve()
        if folder != root and root not in folder.parents:
            continue
        for depth in range(1, len(words) + 1):
            one = folder.joinpath(*words[:depth])
            for candidate in (one / "__init__.py", one.with_suffix(".py")):
                if candidate.is_file():
                    yield candidate.resolve()
        if within is not None and (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
