"""Labels and splits that stand in the paths of parquet shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lora_perf
from tests.io.checks import refuses
from tests.io.tables.forms import LABEL, adapters, assert_rows, python_rows


def write(folder: Path, *labels: str, n: int = 2, key: str = LABEL) -> list[pa.Table]:
    """A shard of n unlabelled adapters for each folder KEY=LABEL."""
    tables = []
    for seed, label in enumerate(labels):
        tables.append(adapters(n, seed=seed).drop_columns([LABEL]))
        path = folder / f"{key}={label}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(tables[-1], path)
    return tables


def labels_of(path: Path, **settings: Any) -> list[str]:
    zoo = lora_perf.load(path, **settings)
    return [zoo.classes[label] for label in zoo.labels]


def test_the_labels_of_partitions_stand_in_their_paths(tmp_path: Path) -> None:
    tables = write(tmp_path, "cat", "dog")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["cat", "dog"], [0, 0, 1, 1])
    assert_rows(zoo, np.concatenate([python_rows(table) for table in tables]))


def test_partitions_that_pyarrow_writes_are_read(tmp_path: Path) -> None:
    table = adapters(9).set_column(2, LABEL, pa.array(["big cat", "a/b", "100%"] * 3))
    pq.write_to_dataset(table, tmp_path, partition_cols=[LABEL])
    assert sorted(labels_of(tmp_path)) == sorted(["big cat", "a/b", "100%"] * 3)


def test_numbers_in_paths_are_classes_in_numerical_order(tmp_path: Path) -> None:
    write(tmp_path, "10", "9", "-1", n=1)
    assert lora_perf.load(tmp_path).classes == ["-1", "9", "10"]


def test_numbers_that_are_written_in_two_ways_stay_texts(tmp_path: Path) -> None:
    write(tmp_path, "1", "01", n=1)
    assert lora_perf.load(tmp_path).classes == ["01", "1"]


def test_the_missing_label_of_a_partition_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat", "__HIVE_DEFAULT_PARTITION__")
    refuses(tmp_path, f"column '{LABEL}' of .*; found 2 missing, the first in row 0; label")


def test_one_of_several_partition_keys_is_the_label(tmp_path: Path) -> None:
    for style in ("oil", "ink"):
        write(tmp_path / f"style={style}", "cat", "dog", n=1)
    assert labels_of(tmp_path) == ["cat", "dog", "cat", "dog"]
    assert labels_of(tmp_path, label_column="style") == ["ink", "ink", "oil", "oil"]


def test_another_label_column_lists_the_keys_too(tmp_path: Path) -> None:
    write(tmp_path, "cat", key="style")
    refuses(tmp_path, "a label column 'kind'; found the columns style; name", label_column="kind")
    assert set(lora_perf.load(tmp_path).metadata["style"]) == {"cat"}


def test_a_partition_or_a_file_of_one_has_its_label_too(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog")
    assert labels_of(tmp_path / f"{LABEL}=dog") == ["dog", "dog"]
    assert labels_of(tmp_path / f"{LABEL}=dog" / "part-0.parquet") == ["dog", "dog"]


def test_a_column_that_says_something_else_than_the_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{LABEL}=cat" / "part-0.parquet"
    path.parent.mkdir()
    pq.write_table(adapters(2), path)
    refuses(tmp_path, r"the value of 'category_label' in the path \(cat\) .* found 'class 0'")


def test_a_split_in_the_path_is_the_split_of_the_zoo(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"split={split}", "cat", "dog", n=1)
    zoo = lora_perf.load(tmp_path)
    assert zoo.split is not None
    assert (zoo.split.tolist(), zoo.labels.tolist()) == ([2, 2, 0, 0], [0, 1, 0, 1])
    assert len(lora_perf.load(tmp_path, split="train")) == 2


def test_an_alpha_in_the_path_counts_for_its_adapters(tmp_path: Path) -> None:
    for alpha in ("4", "2"):
        write(tmp_path / f"lora_alpha={alpha}", "cat", n=1)
    scales = lora_perf.load(tmp_path).scales
    assert scales is not None
    assert scales[:, 0].tolist() == [1, 2]
