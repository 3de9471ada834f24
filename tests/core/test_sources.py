"""A user's function is known by its source: any edit that may change a value is another version."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_perf.core.sources import owner_of, source_version
from lora_perf.representations.streaming import represent

FACTOR = 2
VECTOR = np.arange(3)


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Callable[..., Any]:
    """The function `f` of the module `mine`, loaded anew from these files."""
    monkeypatch.syspath_prepend(str(folder))
    for name in ("mine", "helping", "package", "package.inner"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found: Callable[..., Any] = importlib.import_module("mine").f
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"mine": "def f(x):\n    return x"}, {"mine": "def f(x):\n    return 2 * x"}),
        ({"mine": "def f(x):\n    return x + 1"}, {"mine": "def f(x):\n    return x + 2"}),
        ({"mine": "def f(x, k=1):\n    return x * k"}, {"mine": "def f(x, k=2):\n    return x * k"}),
        ({"mine": "K = 1\ndef f(x):\n    return x * K"}, {"mine": "K = 2\ndef f(x):\n    return x * K"}),
        *(
            ({"mine": text, "helping": "K = 1"}, {"mine": text, "helping": "K = 2"})
            for text in (
                "from helping import K\ndef f(x):\n    return x * K",
                "import os, helping\ndef f(x):\n    return x * helping.K",
                "import helping as h\ndef f(x):\n    return x * h.K",
            )
        ),
        *(
            (
                {"mine": "import package.inner\ndef f(x):\n    return x", "package__inner": text, "package__deep": "K = 1"},
                {"mine": "import package.inner\ndef f(x):\n    return x", "package__inner": text, "package__deep": "K = 2"},
            )
            for text in ("from package.deep import K", "from .deep import K", "from . import deep")
        ),
    ],
)
def test_an_edit_of_the_function_or_of_what_it_imports_is_another_version(
    before: dict[str, str], after: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("package.deep",):
        monkeypatch.delitem(sys.modules, name, raising=False)
    first = source_version(module(tmp_path, monkeypatch, **before))
    assert first == source_version(module(tmp_path, monkeypatch, **before))
    assert first != source_version(module(tmp_path, monkeypatch, **after))


def test_a_function_without_a_file_is_known_by_its_code_and_by_what_it_calls() -> None:
    def made(text: str) -> Callable[..., Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(text, names)
        found: Callable[..., Any] = names["f"]
        return found

    texts = [
        "def g(x):\n    return x\ndef f(x):\n    return g(x)",
        "def g(x):\n    return 2 * x\ndef f(x):\n    return g(x)",
        "def f(x):\n    return [i for i in range(3)]",
        "def f(x):\n    return [i for i in range(4)]",
        "K = {'a', 'b'}\ndef f(x):\n    return x in K",
        "K = {'a', 'c'}\ndef f(x):\n    return x in K",
    ]
    versions = [source_version(made(text)) for text in texts]
    assert len(set(versions)) == len(texts)
    assert versions == [source_version(made(text)) for text in texts]


def test_what_a_function_took_over_from_around_it_counts() -> None:
    def make(k: Any) -> Callable[[int], Any]:
        def f(x: int) -> Any:
            return x * k

        return f

    parts = [1, 2, "1", [1], [2], {"a": 1}, np.ones(2), np.zeros(2), torch.ones(2), torch.zeros(2)]
    assert len({source_version(make(k)) for k in parts}) == len(parts)
    assert source_version(make(1)) == source_version(make(1))
    assert source_version(functools.partial(make(1), 1)) != source_version(functools.partial(make(1), 2))


def test_a_method_counts_with_its_object() -> None:
    class Scaled:
        def __init__(self, k: int) -> None:
            self.k = k

        def f(self, x: int) -> int:
            return self.k * x

    assert source_version(Scaled(1).f) == source_version(Scaled(1).f)
    assert source_version(Scaled(1).f) != source_version(Scaled(2).f)


def test_the_version_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("K = {'a', 'b', 'c'}\ndef f(x):\n    return x in {'u', 'v', 'w'} or x in K")
    code = "import mine, lora_perf.core.sources as s; print(s.source_version(mine.f))"
    command = [sys.executable, "-c", code]
    path = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    found = {
        subprocess.run(command, env={**path, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_functions_of_the_package_have_no_version_of_their_own() -> None:
    assert source_version(represent) == ""
    assert owner_of(represent) is None
    assert owner_of(functools.partial(module, 1)) == f"{__name__}.module"


def test_libraries_of_other_environments_do_not_count_and_an_installed_package_of_the_users_own_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    monkeypatch.syspath_prepend(str(library))
    files = {"mine": "import helping\n\ndef f(x):\n    return helping.g(x)\n"}
    (library / "helping.py").write_text("def g(x):\n    return x\n")
    before = source_version(module(tmp_path, monkeypatch, **files))
    (library / "helping.py").write_text("def g(x):\n    return 2 * x\n")
    assert source_version(module(tmp_path, monkeypatch, **files)) == before
    installed = source_version(module(library, monkeypatch, **files))
    files["mine"] += "    # another line\n"
    assert source_version(module(library, monkeypatch, **files)) != installed
