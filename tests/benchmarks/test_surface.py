"""Benchmarks stand on the public surface, and on what one file takes from inside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import surface
from benchmarks.corpora import ROOT

# The public names, and the commands; this list and that of `surface` may become shorter.
PUBLIC = {"lora_perf", "lora_perf.profiling", "lora_perf.LoraPerfError", "lora_perf.Zoo", "lora_perf.experiment.__main__.main"}


def imported(path: Path) -> Iterator[str]:
    """Modules and names that a file imports, with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_benchmark_imports_from_inside_the_package() -> None:
    files = [*ROOT.glob("benchmarks/**/*.py")]
    assert len(files) > 40
    found = {name: file for file in files for name in imported(file) if name.split(".")[0] == "lora_perf"}
    engine = {name for name in found if name.startswith("lora_perf.pairs.")}  # of the guard, which always is this tree's
    assert set(found) - engine <= PUBLIC, {name: str(file) for name, file in found.items() if name not in PUBLIC | engine}


def test_every_name_of_the_surface_stands_in_its_first_place() -> None:
    for name, (first, *_) in surface._PLACES.items():
        assert hasattr(import_module(f"lora_perf.{first}"), name), f"{name} has moved: put its new place first"
    assert all((ROOT / source).is_file() for source in surface.CORPUS_SOURCES)


def test_a_name_is_found_where_an_older_commit_had_it_and_missed_where_none_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(surface._PLACES, "learn", ("nowhere", "core.zoo", "representations.learned"))
    assert surface.learn.__name__ == "learn"
    monkeypatch.setitem(surface._PLACES, "learn", ("nowhere", "core.zoo"))
    with pytest.raises(ImportError, match=r"no learn in nowhere or core\.zoo"):
        surface.learn  # noqa: B018 - asking is what raises
    with pytest.raises(AttributeError, match="other"):
        surface.other  # noqa: B018
