"""Data sets on disk in Arrow's own files: splits without rows, and files that change between `load` and the rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from tests.io.checks import parts as parts_of
from tests.io.checks import refuses
from tests.io.tables.forms import LABEL, READERS, Reader, adapters, assert_rows, python_rows

# Splits without rows


@pytest.mark.parametrize("names", [("train", "test"), ("test", "train")])
def test_a_split_without_rows_is_none(names: tuple[str, str], data: Any, tmp_path: Path, caplog: Any) -> None:
    parts = datasets.DatasetDict({names[0]: data, names[1]: data.select([])})
    parts.save_to_disk(tmp_path / "saved")
    for source in (parts, tmp_path / "saved"):
        zoo = lora_perf.load(source)
        assert zoo.split is None
        assert_rows(zoo, python_rows(data))
        assert [zoo.classes[label] for label in zoo.labels] == data[LABEL][:]
    use = {"train": "training", "test": "testing"}[names[0]]
    assert caplog.messages == [f"{name}: all rows are for {use}, which is no split" for name in ("DatasetDict", "saved")]


def test_a_split_without_rows_has_no_types(data: Any) -> None:
    empty = datasets.Dataset.from_dict({name: [] for name in data.column_names})
    zoo = lora_perf.load(datasets.DatasetDict(train=data, validation=empty, test=data))
    assert parts_of(zoo) == [0] * len(data) + [2] * len(data)


def test_a_shard_without_rows_has_no_types(tmp_path: Path) -> None:
    table = adapters(4)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    pa.parquet.write_table(pa.table({name: pa.nulls(0) for name in table.column_names}), tmp_path / "b.parquet")
    assert_rows(lora_perf.load(tmp_path), python_rows(table))


def test_saved_splits_of_which_none_has_rows_are_refused(data: Any, tmp_path: Path) -> None:
    datasets.DatasetDict(train=data.select([]), test=data.select([])).save_to_disk(tmp_path / "zoo")
    data.select([]).save_to_disk(tmp_path / "one")
    for name in ("zoo", "one"):
        refuses(tmp_path / name, rf"at least one adapter; found a data set without rows \({name}\)")


# Files that change while they are mapped


def saved(folder: Path) -> Path:
    datasets.Dataset(adapters(9)).save_to_disk(folder)
    return folder / "data-00000-of-00001.arrow"


def written(folder: Path) -> Path:
    folder.mkdir()
    with pa.ipc.new_file(folder / "a.arrow", adapters(9).schema) as file:
        file.write_table(adapters(9))
    return folder / "a.arrow"


def cut(path: Path) -> None:
    os.truncate(path, 100)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    os.utime(other, ns=(0, 0))
    os.replace(other, path)


@pytest.mark.parametrize("write", [saved, written])
@pytest.mark.parametrize("change", [cut, replace])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_a_table_that_was_written_since_is_not_read(
    write: Callable[[Path], Path], change: Callable[[Path], None], read: Reader, tmp_path: Path
) -> None:
    file = write(tmp_path / "zoo")
    zoo = lora_perf.load(tmp_path / "zoo")
    change(file)
    with pytest.raises(LoraPerfError, match=rf"the table that was opened at .*{file.name}; found another one, written since"):
        read(zoo)


@pytest.mark.parametrize("write", [saved, written])
def test_a_table_that_was_removed_since_is_read_as_it_was(write: Callable[[Path], Path], tmp_path: Path) -> None:
    file = write(tmp_path / "zoo")
    zoo: Zoo = lora_perf.load(tmp_path / "zoo")
    file.unlink()
    assert_rows(zoo, python_rows(adapters(9)))
