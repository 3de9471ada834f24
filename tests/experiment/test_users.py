"""Representations of users in an experiment: their features and cells are taken again until their module is edited."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_perf.experiment import inputs

pytestmark = pytest.mark.usefixtures("own_registry")
TEXT = """
import torch, lora_perf
FACTOR = {factor}
def called(name):
    with open({record!r}, "a") as file:
        file.write(name + " ")

@lora_perf.representation("mine_of_layers", features=("mean", "size"))
def of_layers(x):
    called("layers")
    return torch.stack([x.mean, x.std], dim=1) * FACTOR

@lora_perf.representation("mine_of_updates", of="updates", features=("size",))
def of_updates(x):
    called("updates")
    return (x.unit_frobenius * x.scale)[:, None] * FACTOR

@lora_perf.representation("mine_fitted", of="train")
def fitted(rows, seed):
    called("fit")
    mean = rows.mean(dim=0)
    return lambda x: (x - mean)[:, :3] * FACTOR
"""
MINE = ["--representations", "mine_of_layers", "mine_of_updates", "mine_fitted"]


@pytest.fixture
def load_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Callable[[], list[str]]]]:
    """Writes a user's module anew and loads it as a new process would; gives what tells which functions were called since."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    record = tmp_path / "calls"

    def load(factor: int) -> Callable[[], list[str]]:
        (tmp_path / "my_parts.py").write_text(TEXT.format(factor=factor, record=str(record)))
        record.write_text("")
        sys.modules.pop("my_parts", None)
        importlib.invalidate_caches()
        importlib.import_module("my_parts")
        return lambda: record.read_text().split()

    yield load
    sys.modules.pop("my_parts", None)


def test_an_edited_function_never_gets_old_values(
    load_mine: Callable[[int], Callable[[], list[str]]],
    experiment: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "_measured", lambda *_: 1.0)  # what a function costs is measured by calling it

    def accuracies() -> list[Any]:
        return [cell["accuracy"] for cell in experiment(*MINE, "--classifiers", "ridge", "knn")["cells"]]

    def features() -> set[str]:
        return {path.name for path in (tmp_path / "out" / "cache").glob("mine_*")}

    def forget_cells() -> None:
        for path in (tmp_path / "out" / "cells").iterdir():
            path.unlink()

    calls = load_mine(1)
    first, stored = accuracies(), features()
    assert set(calls()) == {"layers", "updates", "fit"}
    assert calls().count("fit") == 2  # once a group
    assert len(stored) == 4
    for forget in (lambda: None, forget_cells):
        calls = load_mine(1)
        forget()
        assert accuracies() == first
        assert calls() == []
    calls = load_mine(2)
    accuracies()
    assert set(calls()) == {"layers", "updates", "fit"}
    assert len(features()) == 8
    assert stored < features()
