"""Which files a test reaches by its imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_perf.pairs.touched import touches

FILES = {
    "src/pack/__init__.py": "from pack import lifted\n",
    "src/pack/lifted.py": "",
    "src/pack/deep/__init__.py": "",
    "src/pack/deep/inner.py": "from ..sibling import value\n",
    "src/pack/sibling.py": "value = 1\n",
    "src/pack/apart.py": "",
    "tests/conftest.py": "",
    "tests/helper.py": "",
    "tests/test_one.py": "import json\n\ndef test(benchmark):\n    from pack.deep import inner\n",
    "tests/test_two.py": "import os\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path.resolve()


@pytest.mark.parametrize(
    ("changed", "one", "two"),
    [
        ("src/pack/sibling.py", True, False),  # by a relative import of an import inside a function
        ("src/pack/lifted.py", True, False),  # by the package on the way
        ("src/pack/apart.py", False, False),
        ("tests/conftest.py", True, True),
        ("tests/test_two.py", False, True),
        ("tests/helper.py", False, False),
    ],
)
def test_a_test_is_touched_by_what_it_imports(root: Path, changed: str, one: bool, two: bool) -> None:
    for name, expected in (("test_one", one), ("test_two", two)):
        assert touches(root / "tests" / f"{name}.py", {root / changed}, root) is expected


def test_files_that_are_no_python_import_nothing(root: Path) -> None:
    (root / "tests" / "test_two.py").write_text("import (\n")
    assert not touches(root / "tests" / "test_two.py", {root / "src/pack/sibling.py"}, root)
