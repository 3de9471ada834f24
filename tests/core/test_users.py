"""Modules of users: by name, by path, by entry point."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_perf.core import users
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.registry import Registry


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules and paths as they were; entry points are asked anew."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(users, "_asked", False)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_module_is_imported_by_name_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "users_parts_a.py", "value = 3")
    monkeypatch.chdir(tmp_path)
    assert users.import_named("users_parts_a").value == 3


def test_a_file_is_imported_by_its_path_with_its_neighbours_and_anew_each_time(tmp_path: Path) -> None:
    write(tmp_path / "users_parts_b.py", "value = 4")
    path = write(tmp_path / "users_parts_c.py", "from users_parts_b import value")
    assert users.import_named(str(path)).value == 4
    write(path, "value = 5")
    assert users.import_named(str(path)).value == 5
    assert sys.modules["users_parts_c"].value == 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\ny = x.z\n", r"AttributeError: .*, line 2 of .*users_parts_d\.py"),
        ("x = 1\n\ny = (\n", r"SyntaxError: .*, line 3 of .*users_parts_d\.py"),
        ("import nothing_of_this_name\n", r"ModuleNotFoundError: .*nothing_of_this_name.*, line 1 of .*users_parts_d\.py"),
        ("raise SystemExit(3)\n", r"SystemExit: 3, line 1 of .*users_parts_d\.py"),
        ("raise ValueError('a\\nb')\n", r"ValueError: a, line 1 of .*users_parts_d\.py"),
    ],
)
def test_an_import_that_fails_is_said_with_its_line(tmp_path: Path, text: str, found: str) -> None:
    path = write(tmp_path / "users_parts_d.py", text)
    with pytest.raises(LoraPerfError, match=rf"a module .*users_parts_d\.py that can be imported; found {found}; correct it"):
        users.import_named(str(path))
    assert "users_parts_d" not in sys.modules


@pytest.mark.parametrize("name", ["no.module", "/no/such/file.py", ""])
def test_a_module_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(LoraPerfError, match=r"that can be imported; found \w+Error: "):
        users.import_named(name)


def test_a_file_called_as_a_module_that_is_imported_already_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "json.py", "")
    with pytest.raises(LoraPerfError, match="another module json is imported already; give the file another name"):
        users.import_named(str(path))


def test_a_command_line_names_several_modules(tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"users_parts_{name}.py", "") for name in "ef")
    users.imported(["--quick", "--import", str(first), "--seed", "1", f"--import={second}"])
    assert {"users_parts_e", "users_parts_f"} <= sys.modules.keys()


def entry_points(monkeypatch: pytest.MonkeyPatch, **modules: str) -> list[str]:
    """Sets the entry points that are installed; the groups that were asked for."""
    asked: list[str] = []

    def installed(*, group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [importlib.metadata.EntryPoint(name, module, group) for name, module in modules.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", installed)
    return asked


def test_entry_points_are_imported_once_when_a_name_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry[int]("shape")
    monkeypatch.setattr(sys, "users_registry", registry, raising=False)
    write(tmp_path / "users_parts_g.py", "import sys; sys.users_registry.add('square', 4)")
    monkeypatch.syspath_prepend(tmp_path)
    asked = entry_points(monkeypatch, mine="users_parts_g")
    assert registry.named("square") == 4
    with pytest.raises(LoraPerfError, match=r"a shape \(square\); found 'circle'"):
        registry.named("circle")
    assert asked == ["lora_perf"]


def test_a_broken_entry_point_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    entry_points(monkeypatch, mine="users_no_module", others="json")
    with caplog.at_level(logging.WARNING):
        users.load_entry_points()
    assert [record.getMessage() for record in caplog.records] == [
        "the entry point mine (users_no_module) of group lora_perf is left out: "
        "ModuleNotFoundError: No module named 'users_no_module'"
    ]
