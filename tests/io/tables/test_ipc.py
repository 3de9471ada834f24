"""Arrow's own files."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.checks import parts as parts_of
from tests.io.checks import refuses
from tests.io.tables.forms import LABEL, adapters, assert_rows, python_rows


def write(path: Path, table: pa.Table, how: str) -> Path:
    """A file of the file format or the stream of Arrow, in batches of two rows, or one of Feather with a compression."""
    if how in ("file", "stream"):
        maker = pa.ipc.new_file if how == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, maker(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    elif how == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        pyarrow.feather.write_feather(table, str(path), compression=how)
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("zoo.arrow", "file"),
        ("zoo.arrow", "stream"),
        ("zoo.ipc", "file"),
        ("zoo.FEATHER", "uncompressed"),
        ("zoo.feather", "lz4"),
        ("zoo.feather", "zstd"),
    ],
)
def test_a_file_of_arrow_is_a_zoo(name: str, how: str, tmp_path: Path) -> None:
    zoo = lora_perf.load(write(tmp_path / name, adapters(7), how))
    assert_rows(zoo, python_rows(adapters(7)))
    assert (zoo.name, zoo.classes) == ("zoo", ["class 0", "class 1", "class 2"])


def test_files_of_arrow_in_a_folder_are_shards(tmp_path: Path) -> None:
    tables = [adapters(3), adapters(2, seed=5)]
    write(tmp_path / "b.feather", tables[1], "lz4")
    write(tmp_path / "a.arrow", tables[0], "stream")
    write(tmp_path / "cache-0123.arrow", tables[0], "stream")
    assert_rows(lora_perf.load(tmp_path), np.concatenate([python_rows(table) for table in tables]))


def test_splits_in_the_names_of_arrows_files_are_the_split_of_the_zoo(tmp_path: Path) -> None:
    """As `datasets` names the files in its cache."""
    write(tmp_path / "zoo-train-00000-of-00002.arrow", adapters(3), "stream")
    write(tmp_path / "zoo-train-00001-of-00002.arrow", adapters(2, seed=5), "stream")
    write(tmp_path / "zoo-test.arrow", adapters(4, seed=7), "stream")
    assert parts_of(lora_perf.load(tmp_path)) == [2] * 4 + [0] * 5
    assert_rows(lora_perf.load(tmp_path, split="test"), python_rows(adapters(4, seed=7)))


def test_partitions_of_arrows_files_have_their_labels(tmp_path: Path) -> None:
    for label in ("dog", "cat"):
        (tmp_path / f"{LABEL}={label}").mkdir()
        write(tmp_path / f"{LABEL}={label}" / "0.feather", adapters(1).drop_columns([LABEL]), "zstd")
    assert lora_perf.load(tmp_path).classes == ["cat", "dog"]


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"FEA1....", b"<html>" * 9, b"\xff\xff\xff\xff\x10\0\0\0" + bytes(16)])
def test_a_file_that_is_none_of_arrow_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "zoo.arrow").write_bytes(content)
    refuses(tmp_path / "zoo.arrow", r"a whole Arrow file at .*zoo\.arrow; found .*; write or fetch it again")


@pytest.mark.parametrize("how", ["file", "stream", "uncompressed", "zstd", "parquet"])
def test_a_damaged_file_is_one_line_or_a_zoo_of_its_shape(how: str, tmp_path: Path) -> None:
    table = adapters(6)
    table = table.set_column(2, LABEL, table.column(LABEL).dictionary_encode())
    path = write(tmp_path / ("zoo.parquet" if how == "parquet" else "zoo.arrow"), table, how)
    whole = path.read_bytes()
    chance = random.Random(7)
    refused = []
    for i in range(60):
        content = bytearray(whole)
        if i % 6 == 0:
            del content[chance.randrange(len(content)) :]
        else:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            zoo = lora_perf.load(path)
            assert np.shape(zoo.rows) == (len(zoo), zoo.layout.p)
        except LoraPerfError as error:
            refused.append(str(error))
    assert len(refused) >= 10  # each truncated file
    assert {len(line.splitlines()) for line in refused} == {1}


def test_names_of_columns_that_are_no_utf_8_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "zoo.arrow", adapters(2), "stream")
    path.write_bytes(path.read_bytes().replace(LABEL.encode(), LABEL.encode()[:-1] + b"\xe5"))
    refuses(path, r"a whole Arrow file at .*; found 'utf-8' codec")
