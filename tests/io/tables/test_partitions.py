"""Labels and splits that stand in the paths of parquet shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from tests.io.checks import labels, parts, refuses
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


def test_the_labels_of_partitions_stand_in_their_paths(tmp_path: Path) -> None:
    tables = write(tmp_path, "cat", "dog")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["cat", "dog"], [0, 0, 1, 1])
    assert_rows(zoo, np.concatenate([python_rows(table) for table in tables]))
    assert labels(lora_perf.load(tmp_path / f"{LABEL}=dog")) == ["dog", "dog"]
    assert labels(lora_perf.load(tmp_path / f"{LABEL}=dog" / "part-0.parquet")) == ["dog", "dog"]


def test_partitions_that_pyarrow_writes_are_read(tmp_path: Path) -> None:
    table = adapters(9).set_column(2, LABEL, pa.array(["big cat", "a/b", "100%"] * 3))
    pq.write_to_dataset(table, tmp_path, partition_cols=[LABEL])
    assert sorted(labels(lora_perf.load(tmp_path))) == sorted(["big cat", "a/b", "100%"] * 3)


@pytest.mark.parametrize(("written", "classes"), [(["10", "9", "-1"], ["-1", "9", "10"]), (["1", "01"], ["01", "1"])])
def test_numbers_in_paths_are_in_numerical_order_unless_they_are_written_in_two_ways(
    written: list[str], classes: list[str], tmp_path: Path
) -> None:
    write(tmp_path, *written, n=1)
    assert lora_perf.load(tmp_path).classes == classes


def test_the_missing_label_of_a_partition_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat", "__HIVE_DEFAULT_PARTITION__")
    refuses(tmp_path, f"column '{LABEL}' of .*; found 2 missing, the first in row 0; label")


def test_one_of_several_partition_keys_is_the_label(tmp_path: Path) -> None:
    for style in ("oil", "ink"):
        write(tmp_path / f"style={style}", "cat", "dog", n=1)
    assert labels(lora_perf.load(tmp_path)) == ["cat", "dog", "cat", "dog"]
    assert labels(lora_perf.load(tmp_path, label_column="style")) == ["ink", "ink", "oil", "oil"]


def test_another_label_column_lists_the_keys_too(tmp_path: Path) -> None:
    write(tmp_path, "cat", key="style")
    refuses(tmp_path, "a label column 'kind'; found the columns style; name", label_column="kind")
    assert set(lora_perf.load(tmp_path).metadata["style"]) == {"cat"}


def test_a_column_that_says_something_else_than_the_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{LABEL}=cat").mkdir()
    pq.write_table(adapters(2), tmp_path / f"{LABEL}=cat" / "part-0.parquet")
    refuses(tmp_path, r"the value of 'category_label' in the path \(cat\) .* found 'class 0'")


def test_splits_and_alphas_in_the_path_count(tmp_path: Path) -> None:
    for split, alpha in (("train", 4), ("test", 2)):
        write(tmp_path / f"split={split}" / f"lora_alpha={alpha}", "cat", "dog", n=1)
    zoo = lora_perf.load(tmp_path)
    assert (parts(zoo), zoo.labels.tolist()) == ([2, 2, 0, 0], [0, 1, 0, 1])
    assert zoo.scales[:, 0].tolist() == [1, 1, 2, 2]
    assert len(lora_perf.load(tmp_path, split="train")) == 2
