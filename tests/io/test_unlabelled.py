"""Zoos without labels, from every kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.inspect import inspection
from lora_perf.io.__main__ import main as pack_command
from tests.io.adapters import lay, zoo_folder
from tests.io.checks import refuses
from tests.io.tables.forms import adapters

LABEL = "category_label"


def plain() -> pa.Table:
    """Seven adapters with a column of numbers and one that looks like classes, and no labels."""
    table = adapters(7).drop_columns([LABEL])
    return table.append_column("style", [list("ababaab")]).append_column("num_images", [list(range(7))])


def of_folder(path: Path) -> Any:
    return lay(path, *"0123456")


def of_parquet(path: Path) -> Any:
    pq.write_table(plain(), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def of_saved(path: Path) -> Any:
    datasets.Dataset(plain()).save_to_disk(path)
    return path


SOURCES: dict[str, Callable[[Path], Any]] = {
    "folder": of_folder,
    "parquet": of_parquet,
    "saved": of_saved,
    "table": lambda _: plain(),
    "data set": lambda _: datasets.Dataset(plain()),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("asked", [{}, {"label_column": None}], ids=["by default", "None"])
def test_adapters_without_classes_are_a_zoo(make: Callable[[Path], Any], asked: Any, tmp_path: Path) -> None:
    source = make(tmp_path / "zoo")
    zoo = lora_perf.load(source, **asked)
    assert (len(zoo), zoo.labels, zoo.classes) == (7, None, [])
    again = lora_perf.load(lora_perf.pack(zoo, tmp_path / "packed.safetensors"))
    assert (again.labels, again.fingerprint) == (None, zoo.fingerprint)
    refuses(source, "'colour'", label_column="colour")
    assert len(lora_perf.represent(zoo, ["stats"])["stats"].values) == 7


def test_labels_that_are_there_can_be_left(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    assert lora_perf.load(tmp_path, label_column=None).labels is None
    zoo = lora_perf.load(adapters(3), label_column=None)
    assert zoo.labels is None
    assert list(zoo.metadata) == [LABEL]


def test_the_columns_are_told_where_the_default_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    lora_perf.load(plain())
    assert len(caplog.records) == 1
    assert "no labels, since there is no column category_label" in caplog.text
    assert "the columns are style, num_images" in caplog.text


def test_a_table_beside_the_files_without_labels_tells_its_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of_folder(tmp_path)
    lines = "".join(f"{i}.safetensors,{'ab'[i % 2]},{i}\n" for i in range(7))
    (tmp_path / "metadata.csv").write_text(f"file_name,style,num_images\n{lines}")
    zoo = lora_perf.load(tmp_path)
    assert zoo.labels is None
    assert "no labels; choose a column with label_column=... (--label-column): style, num_images" in caplog.text
    assert zoo.metadata["num_images"] == list(range(7))
    assert lora_perf.load(tmp_path, label_column="style").classes == ["a", "b"]


def test_sub_folders_are_the_classes_beside_a_table_that_names_none(tmp_path: Path) -> None:
    paths = [path.relative_to(tmp_path) for path in zoo_folder(tmp_path)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file,steps", *(f"{path},10" for path in paths)]))
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["cat", "dog"]
    assert zoo.metadata["steps"] == [10] * 4


def test_checkpoints_are_refused_without_classes_too(tmp_path: Path) -> None:
    lay(tmp_path, *(f"run/checkpoint-{step}/adapter_model.safetensors" for step in (500, 1000)))
    for asked in ({}, {"label_column": None}):
        refuses(tmp_path, "checkpoints of 1 run, which are near copies", **asked)


def test_classes_of_some_adapters_alone_can_be_left(tmp_path: Path) -> None:
    refuses(lay(tmp_path, "a", "cat/b", "cat/siamese/c"), r"or do without classes: label_column=None \(--label-column None\)")
    assert len(lora_perf.load(tmp_path, label_column=None)) == 3


def test_the_experiment_says_what_is_missing_and_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--dataset", str(of_parquet(tmp_path / "zoo")), "--output-dir", str(tmp_path / "out")]
    assert experiment(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert all(one in lines[0] for one in ("labels", "style", "num_images"))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_classes_is_inspected_and_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspection(of_folder(tmp_path / "zoo"))
    assert (found.adapters, found.classes, found.problems) == (7, {}, ())
    assert not inspection(of_parquet(tmp_path / "table")).problems
    target = tmp_path / "packed.safetensors"
    assert pack_command([str(tmp_path / "zoo"), str(target)]) == 0
    assert f"packed: {target} (7 adapters, " in capsys.readouterr().out
    assert lora_perf.load(target).labels is None


@pytest.mark.parametrize("target", ["no/such/folder/zoo.safetensors", "."])
def test_a_target_that_cannot_be_written_is_one_line(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack_command([str(of_folder(tmp_path / "zoo")), str(tmp_path / target), "--label-column", "None"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
