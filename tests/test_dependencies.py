"""The direction of dependencies inside the package, read from the imports of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lora_perf

PACKAGE = Path(lora_perf.__file__).parent

# Each room may import itself and the rooms named here, at the top of a file or inside a function.
ALLOWED: dict[str, set[str]] = {
    "text": set(),
    "terminal": {"text"},
    "errors": {"text"},
    "command": {"errors", "text"},
    "names": set(),
    "layout": {"errors", "names"},
    "headers": {"errors"},
    "dialects": {"errors", "names"},
    "zoo": {"errors", "layout"},
    "atomic": {"errors"},
    "checked": {"errors", "atomic", "headers"},
    "store": {"errors", "atomic", "headers", "layout", "zoo"},
    "threads": {"zoo"},
    "zoos": {"text", "errors", "atomic", "command", "layout", "zoo", "store"},
    "sources": {"text", "errors", "headers", "names", "layout", "dialects", "zoo", "store", "zoos"},
    "features": {"errors", "layout"},
    "representations": {"errors", "layout", "features"},
    "represent": {"errors", "layout", "zoo", "threads", "features", "representations"},
    "provenance": set(),
    "profiling": set(),
    "cache": {"layout", "zoo", "checked", "features", "representations", "provenance"},
    "learned": {"errors", "layout", "zoo", "checked", "features", "provenance"},
    "split": {"errors"},
    "standardise": {"errors"},
    "perceptron": set(),
    "training": {"errors", "perceptron"},
    "classifier": {"errors", "split", "standardise", "training"},
    "probes": {"errors", "split", "standardise"},
    "metrics": {"errors"},
}
FOUNDATION = set(ALLOWED)
ALLOWED["inspect"] = {
    *("text", "terminal", "errors", "command", "names", "layout", "headers", "dialects", "zoo", "store", "threads", "zoos"),
    "sources",
    *("features", "representations", "represent"),
}
ALLOWED["experiment"] = FOUNDATION
ALLOWED["report"] = FOUNDATION | {"experiment"}
ALLOWED["audit"] = FOUNDATION | {"experiment", "report"}
ALLOWED["__init__"] = {"command", "errors", "zoo", "represent", "representations", "sources"}
# The command line stands above the report that it writes at its end.
EXCEPTIONS = {("experiment/__main__.py", "report")}

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            base = node.module or ""
            found |= {f"{base}.{alias.name}" for alias in node.names} if base == "lora_perf" else {base}
    return found


def room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_rooms_below_its_own(path: Path) -> None:
    own = room(path)
    assert own in ALLOWED, f"{path}: give its room a place in ALLOWED"
    targets = {name.split(".")[1] for name in imported(path) if name.startswith("lora_perf.")}
    wrong = {name for name in targets - {own} - ALLOWED[own] if (path.as_posix(), name) not in EXCEPTIONS}
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_package_knows_nothing_of_benchmarks_and_tests(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & {"benchmarks", "tests"}


def test_the_rooms_form_no_circle() -> None:
    open_rooms = {name: set(below) for name, below in ALLOWED.items()}
    while open_rooms:
        free = [name for name, below in open_rooms.items() if not below & set(open_rooms)]
        assert free, f"a circle among {sorted(open_rooms)}"
        for name in free:
            del open_rooms[name]


def test_importing_the_package_leaves_heavy_libraries_alone() -> None:
    heavy = ["datasets", "pyarrow", "pandas", "sklearn", "scipy", "matplotlib", "tyro", "rich"]
    code = f"import sys, lora_perf; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
