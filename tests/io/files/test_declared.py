"""Which parquet files of a folder are one data set, and which folders are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from tests.io.checks import parts as parts_of
from tests.io.checks import refuses
from tests.io.tables.forms import adapters, assert_rows, python_rows


def write(folder: Path, *paths: str) -> None:
    """Tables of 1, 2, 3, ... adapters."""
    for n, path in enumerate(paths, start=1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(adapters(n, seed=n), folder / path)


def rows_of(*numbers: int) -> np.ndarray:
    return np.concatenate([python_rows(adapters(n, seed=n)) for n in numbers])


REFUSED = {
    "shards of two uploads": (
        ("data/train-00000-of-00001.parquet", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        r"the shards of one writing in .*; found files of 2 sets: data/train-00000-of-00001\.parquet, data/train-0",
    ),
    "shards of two uploads without a split": (
        ("x-00000-of-00001.parquet", "x-00000-of-00002.parquet", "x-00001-of-00002.parquet"),
        r"files of 2 sets: x-00000-of-00001\.parquet, x-00000-of-00002\.parquet",
    ),
    "the same shard of two uploads": (
        ("train-00000-of-00001-0123abcd.parquet", "train-00000-of-00001-89efcdab.parquet"),
        r"each shard once in .*; found train-00000-of-00001-0123abcd\.parquet, train-00000-of-00001-89efcdab\.parquet",
    ),
    "a missing shard": (
        ("train-00000-of-00003.parquet", "train-00002-of-00003.parquet"),
        r"all 3 shards of train-00000-of-00003\.parquet in .*; found 2, without 00001; fetch the missing files",
    ),
    "the last shard missing": (
        ("test-00000-of-00001.parquet", "train-00000-of-00002.parquet"),
        r"all 2 shards of train-00000-of-00002\.parquet in .*; found 1, without 00001",
    ),
    "a shard beyond": (("x-0-of-2.parquet", "x-1-of-2.parquet", "x-2-of-2.parquet"), r"from 0 to 1 in .*; found x-2-of-2"),
    "declared and other names": (
        ("train-00000-of-00001.parquet", "train_log.parquet"),
        r"files of 2 sets: train-00000-of-00001\.parquet, train_log\.parquet",
    ),
    "two data sets": (
        ("a-00000-of-00001.parquet", "b-00000-of-00001.parquet"),
        r"files of 2 sets: a-00000-of-00001\.parquet, b-00000-of-00001\.parquet",
    ),
    "two configurations": (
        ("english/train-00000-of-00001.parquet", "german/train-00000-of-00001.parquet"),
        r"one data set in .*; found parquet files in 2 folders: english, german \(configurations, or several data sets\)",
    ),
    "two configurations as the Hub converts them": (
        ("default/train/0000.parquet", "other/train/0000.parquet"),
        r"parquet files in 2 folders: default, other",
    ),
    "a folder and a folder in it": (("a.parquet", "more/b.parquet"), r"in 2 folders: the folder itself, more"),
    "two snapshots": (
        ("snapshots/0a1b/data/train-00000-of-00001.parquet", "snapshots/2c3d/data/train-00000-of-00001.parquet"),
        r"one snapshot in .*; found 2, which are versions of the same rows: 0a1b, 2c3d; give the path of one",
    ),
    "a copy of a browser": (("x.parquet", "x (1).parquet"), r"found x \(1\)\.parquet, by its name a copy of x\.parquet"),
    "a copy of Windows": (("x.parquet", "x - Copy.parquet"), r"x - Copy\.parquet, by its name a copy of x\.parquet"),
    "a copy of a Mac": (("x.parquet", "x copy 2.parquet"), r"x copy 2\.parquet, by its name a copy of x\.parquet"),
    "an older copy of Windows": (("x.parquet", "Copy of x.parquet"), r"Copy of x\.parquet, by its name a copy of x\.parquet"),
    "a copy of a shard": (
        ("train-00000-of-00001.parquet", "train-00000-of-00001(1).parquet"),
        r"train-00000-of-00001\(1\)\.parquet, by its name a copy of",
    ),
    "two splits in one path": (
        ("train/test-0.parquet", "train/train-0.parquet"),
        r"one split for each file in .*; found train, test in train/test-0\.parquet",
    ),
    "a file named train": (
        ("car.parquet", "plane.parquet", "train.parquet"),
        r"'train' beside car\.parquet, plane\.parquet, so that it may be a split or a name like the others",
    ),
    "a folder named train": (
        ("car/0.parquet", "train/0.parquet"),
        r"'train' beside car/0\.parquet, so that it may be a split or a name like the others",
    ),
    "a folder and a file of one split": (
        ("train.parquet", "train/0.parquet"),
        r"the files of one split in one folder of .*; found train.*\.parquet, train.*\.parquet; keep the files",
    ),
    "two names of one part": (
        ("test/0.parquet", "train/0.parquet", "training/0.parquet"),
        r"one name of each part in .*; found train, training, which mean the same; choose one",
    ),
    "a Delta table": (
        ("part-0.parquet", "part-1.parquet", "_delta_log/00000000000000000010.checkpoint.parquet"),
        r"files in .* that all count; found a table of Delta Lake, whose log _delta_log says which do; read it with",
    ),
    "a Hudi table": (("part-0.parquet", ".hoodie/metadata.parquet"), r"a table of Apache Hudi, whose log \.hoodie says"),
    "a sink of Spark": (("part-0.parquet", "_spark_metadata/0.parquet"), r"of Spark's streams, whose log _spark_metadata"),
}  # fmt: skip


@pytest.mark.parametrize(("paths", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_single_whole_set_is_refused_with_its_files(paths: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write(tmp_path, *paths)
    refuses(tmp_path, message)


def test_an_iceberg_table_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "data/0.parquet", "data/1.parquet")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "v2.metadata.json").write_text("{}")
    refuses(tmp_path, r"a table of Apache Iceberg, whose log metadata/v2\.metadata\.json says")


READ = {
    "shards of a split": (("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"), (1, 2)),
    "shards with a hash each": (("train-00000-of-00002-ab.parquet", "train-00001-of-00002-cd.parquet"), (1, 2)),
    "ten shards and more": (tuple(f"x-{i}-of-11.parquet" for i in range(11)), (1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10)),
    "one snapshot": (("snapshots/0a1b/data/train-00000-of-00001.parquet",), (1,)),
    "one configuration": (("default/train/0000.parquet", "default/train/0001.parquet"), (1, 2)),
    "what Spark writes": (("part-00000-1f-c000.snappy.parquet", "part-00001-1f-c000.snappy.parquet"), (1, 2)),
    "what Spark leaves": (("part-0.parquet", "_temporary/0/part-0.parquet"), (1,)),
    "what the Hub's client keeps": (("x.parquet", ".cache/huggingface/download/x.parquet"), (1,)),
    "what systems write": (("x.parquet", "._x.parquet"), (1,)),
    "a folder with the ending of a file": (("x.parquet/part-0.parquet", "x.parquet/part-1.parquet"), (1, 2)),
    "endings in any case": (("a.PARQUET", "b.parquet"), (1, 2)),
    "a copy without its original": (("x (1).parquet",), (1,)),
}


@pytest.mark.parametrize(("paths", "numbers"), READ.values(), ids=READ.keys())
def test_one_whole_set_is_read_in_the_order_of_its_names(
    paths: tuple[str, ...], numbers: tuple[int, ...], tmp_path: Path
) -> None:
    write(tmp_path, *paths)
    assert_rows(lora_perf.load(tmp_path), rows_of(*numbers))


def test_a_file_that_names_no_split_is_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "train-00000-of-00001.parquet", "extra.parquet")
    assert_rows(lora_perf.load(tmp_path), rows_of(1))
    assert "1 parquet file of no split left out beside those of train: extra.parquet" in caplog.text


def test_hidden_tables_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "x.parquet", "_x.parquet", "_temporary/0/x.parquet")
    assert len(lora_perf.load(tmp_path)) == 1
    assert "1 hidden file (by a _ or . at the beginning) left alone: _x.parquet" in caplog.text
    assert "1 hidden folder (by a _ or . at the beginning) left alone: _temporary" in caplog.text


@pytest.mark.parametrize("names", [("Train", "TEST"), ("training", "testing"), ("train", "test")])
@pytest.mark.parametrize("pattern", ["{}/0.parquet", "{}-00000-of-00001.parquet", "{}.parquet"])
def test_splits_are_known_in_any_case_and_form(names: tuple[str, str], pattern: str, tmp_path: Path) -> None:
    write(tmp_path, *(pattern.format(name) for name in names))
    zoo = lora_perf.load(tmp_path)
    first = sorted(names)  # in the order of their paths
    numbers = [names.index(name) + 1 for name in first]
    assert_rows(zoo, rows_of(*numbers))
    assert parts_of(zoo) == [part for n in numbers for part in [{1: 0, 2: 2}[n]] * n]
    assert_rows(lora_perf.load(tmp_path, split="test"), rows_of(2))


def test_a_split_is_whole_where_another_is_not_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "test-00000-of-00001.parquet", "train-00000-of-00002.parquet")
    assert_rows(lora_perf.load(tmp_path, split="test"), rows_of(1))


def test_a_broken_link_is_a_missing_shard(tmp_path: Path) -> None:
    write(tmp_path, "x-0.parquet")
    (tmp_path / "x-1.parquet").symlink_to("nowhere.parquet")
    refuses(tmp_path, r"a parquet file at .*x-1\.parquet; found a broken link; write or fetch")


def test_links_of_the_cache_of_the_hub_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "cache/blobs/x.parquet")
    (tmp_path / "cache" / "blobs" / "x.parquet").rename(tmp_path / "cache" / "blobs" / "0a1b2c")
    snapshot = tmp_path / "cache" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "train-00000-of-00001.parquet").symlink_to("../../blobs/0a1b2c")
    assert_rows(lora_perf.load(tmp_path / "cache"), rows_of(1))


def test_a_link_to_a_shard_beside_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet")
    (tmp_path / "b.parquet").symlink_to("a.parquet")
    refuses(tmp_path, r"each shard once in .*; found b\.parquet, a link to a\.parquet; remove the link")


def test_a_table_of_something_else_among_shards_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet")
    pq.write_table(pa.table({"step": [1]}), tmp_path / "log.parquet")
    refuses(tmp_path, r"weight columns .*; found only step \(log\.parquet\)")


@pytest.mark.parametrize("whole", [True, False], ids=["the folder", "the file"])
def test_a_name_that_arrow_cannot_open_is_said(whole: bool, tmp_path: Path) -> None:
    write(tmp_path, "a.parquet")
    path = os.fsencode(tmp_path) + b"/caf\xe9.parquet"
    os.rename(tmp_path / "a.parquet", path)
    refuses(
        tmp_path if whole else os.fsdecode(path), r"paths in UTF-8, since Arrow opens no others; found .*caf.*\.parquet; rename"
    )


def test_a_numbered_table_of_the_same_bytes_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path, "part.parquet", "part 2.parquet")
    assert_rows(lora_perf.load(tmp_path), rows_of(2, 1))  # "part 2" stands first
    (tmp_path / "part 3.parquet").write_bytes((tmp_path / "part.parquet").read_bytes())
    refuses(tmp_path, r"each shard once in .*; found part 3\.parquet, by its name a copy of part\.parquet")
