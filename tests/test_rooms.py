"""The direction of dependencies inside the package, read from the imports of every file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lora_perf

PACKAGE = Path(lora_perf.__file__).parent

PLAN = Path(__file__).parent.parent / "docs" / "house.md"
_ROW = re.compile(r"^\| `(\w+)` \|[^|]*\|[^|]*\|([^|]*)\|$", re.MULTILINE)
ALLOWED = {name: set(re.findall(r"`(\w+)`", below)) for name, below in _ROW.findall(PLAN.read_text())}
# The public surface, which lifts names out of the rooms, and the console script, which starts their commands.
TOP = {"__init__", "__main__"}

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
    if own in TOP:
        return
    assert own in ALLOWED, f"{path}: give its room a row in {PLAN.name}"
    targets = {name.split(".")[1] for name in imported(path) if name.startswith("lora_perf.")}
    wrong = targets - {own} - ALLOWED[own]
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_the_face_of_a_room_says_what_comes_in_what_goes_out_and_what_to_import(name: str) -> None:
    told = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
    assert re.search(r"^Comes in: .*^Goes out: .*^Import from here: ", told, re.MULTILINE | re.DOTALL)


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
