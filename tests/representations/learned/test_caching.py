"""Learned features on disk: taken again for the same content only, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned import cached, caching, learn
from tests.conftest import MakeZoo

TRAIN = torch.arange(12)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was learned anew."""
    names: list[str] = []

    def record(zoo: Zoo, name: str, **settings: Any) -> Any:
        names.append(name)
        return learn(zoo, name, **settings)

    monkeypatch.setattr(caching, "learn", record)
    return names


def test_the_second_time_features_are_read(random_zoo: MakeZoo, tmp_path: Path, learned: list[str]) -> None:
    first = cached(random_zoo(18), "pca", tmp_path / "new", train=TRAIN)
    second = cached(random_zoo(18), "pca", tmp_path / "new", train=TRAIN.flip(0))
    assert learned == ["pca"]
    assert torch.equal(first.values, second.values)
    assert first.parts == second.parts
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]


def test_the_seconds_are_told_where_features_had_to_be_learned(random_zoo: MakeZoo, tmp_path: Path) -> None:
    told: list[float] = []
    for damage in (False, False, True):
        for path in tmp_path.iterdir() if damage else ():
            path.write_bytes(b"")
        cached(random_zoo(18), "pca", tmp_path, train=TRAIN, learned=told.append)
    assert len(told) == 2
    assert all(seconds >= 0 for seconds in told)


def test_whatever_features_depend_on_is_in_the_key(
    random_zoo: MakeZoo, tmp_path: Path, learned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = random_zoo(18)
    scaled = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=torch.full((18, 2), 2.0))
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN)
    cached(random_zoo(18, seed=1), "dw_kernel", tmp_path, train=TRAIN)
    cached(scaled, "dw_kernel", tmp_path, train=TRAIN)
    cached(zoo, "pca", tmp_path, train=TRAIN)
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN[1:])
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN, seed=43)
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN, dimensions=3)
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN, layers=zoo.layout.group("visual"))
    monkeypatch.setattr(caching, "code_version", lambda part: f"another {part}")
    cached(zoo, "dw_kernel", tmp_path, train=TRAIN)
    assert len(learned) == len(list(tmp_path.iterdir())) == 9


@pytest.mark.parametrize("damage", [b"", b"no safetensors", None], ids=["empty", "text", "cut"])
def test_a_damaged_file_counts_as_none(damage: bytes | None, random_zoo: MakeZoo, tmp_path: Path, learned: list[str]) -> None:
    zoo = random_zoo(18)
    first = cached(zoo, "pca", tmp_path, train=TRAIN)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    assert torch.equal(cached(zoo, "pca", tmp_path, train=TRAIN).values, first.values)
    assert torch.equal(cached(zoo, "pca", tmp_path, train=TRAIN).values, first.values)
    assert learned == ["pca", "pca"]


def test_errors_are_those_of_learning(random_zoo: MakeZoo, tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match="found 'tsne'"):
        cached(random_zoo(18), "tsne", tmp_path, train=TRAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(random_zoo: MakeZoo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LoraPerfError, match="a folder that can be written"):
        cached(random_zoo(18), "pca", tmp_path / "file", train=TRAIN)
