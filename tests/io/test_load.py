"""What `load` opens, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.io.store import verify
from lora_perf.zoos import EMBEDDED
from tests.io.checks import refuses
from tests.io.tables.forms import adapters, assert_rows, python_rows

# save_to_disk folders


@pytest.mark.parametrize("kind", [str, Path])
def test_a_saved_data_set_is_a_zoo(data: Any, tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=3)
    zoo = lora_perf.load(kind(tmp_path / "zoo"))
    assert_rows(zoo, python_rows(data))
    assert zoo.name == "zoo"


def test_a_tilde_is_the_home_folder(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data.save_to_disk(tmp_path / "zoo")
    assert_rows(lora_perf.load("~/zoo"), python_rows(data))
    assert lora_perf.pack("~/zoo", "~/zoo.safetensors") == tmp_path / "zoo.safetensors"


def test_a_relative_path_is_a_path(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.save_to_disk(tmp_path / "some" / "zoo")
    monkeypatch.chdir(tmp_path)
    assert_rows(lora_perf.load("some/zoo"), python_rows(data))


def test_the_splits_of_a_data_set_are_the_split_of_the_zoo(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    zoo = lora_perf.load(tmp_path / "zoo")
    assert_rows(zoo, np.concatenate([python_rows(part) for part in parts.values()]))
    assert zoo.split is not None
    assert zoo.split.tolist() == [0] * 9 + [1] * 3 + [2] * 5


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_another_split_is_taken_by_name(parts: Any, tmp_path: Path, split: str) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    assert_rows(lora_perf.load(tmp_path / "zoo", split=split), python_rows(parts[split]))


def test_a_dict_of_data_sets_in_memory_has_splits(parts: Any) -> None:
    assert_rows(lora_perf.load(parts, split="test"), python_rows(parts["test"]))


def test_a_missing_split_lists_those_there_are(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    refuses(tmp_path / "zoo", r"a split 'dev' in zoo; found the splits train, validation, test; .*split=", split="dev")


# Parquet


def test_a_parquet_file_is_a_zoo(tmp_path: Path) -> None:
    pq.write_table(adapters(17), tmp_path / "zoo.parquet")
    assert_rows(lora_perf.load(tmp_path / "zoo.parquet"), python_rows(adapters(17)))


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    tables = [adapters(3, seed=seed) for seed in (0, 2, 4)]
    for name, table in zip(("b", "c", "a"), tables, strict=True):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert_rows(lora_perf.load(tmp_path), np.concatenate([python_rows(tables[i]) for i in (2, 0, 1)]))


SPLIT_FOLDERS = {
    "names in a sub-folder": "data/{split}-{shard:05d}-of-00002.parquet",
    "names": "{split}-{shard:05d}.parquet",
    "names with an underscore": "{split}_{shard}.parquet",
    "folders": "{split}/{shard:04d}.parquet",
    "folders in a folder": "default/{split}/{shard:04d}.parquet",
}


def write_splits(folder: Path, pattern: str, splits: dict[str, int]) -> dict[str, pa.Table]:
    """Two shards a split; the table of each split."""
    tables = {}
    for split, n in splits.items():
        tables[split] = adapters(n, seed=n)
        for shard, part in enumerate((tables[split].slice(0, 1), tables[split].slice(1))):
            path = folder / pattern.format(split=split, shard=shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, path)
    return tables


@pytest.mark.parametrize("pattern", SPLIT_FOLDERS.values(), ids=SPLIT_FOLDERS.keys())
def test_the_shards_of_a_split_are_found(tmp_path: Path, pattern: str) -> None:
    tables = write_splits(tmp_path, pattern, {"train": 5, "test": 4, "validation": 3})
    zoo = lora_perf.load(tmp_path)
    assert_rows(zoo, np.concatenate([python_rows(tables[name]) for name in ("test", "train", "validation")]))
    assert zoo.split is not None
    assert zoo.split.tolist() == [2] * 4 + [0] * 5 + [1] * 3
    assert_rows(lora_perf.load(tmp_path, split="test"), python_rows(tables["test"]))


@pytest.mark.parametrize("pattern", SPLIT_FOLDERS.values(), ids=SPLIT_FOLDERS.keys())
def test_a_missing_split_of_parquet_lists_those_there_are(tmp_path: Path, pattern: str) -> None:
    write_splits(tmp_path, pattern, {"train": 3, "test": 4})
    refuses(tmp_path, r"a split 'validation' in .*; found the splits test, train; .*split=", split="validation")


def test_a_split_of_files_named_by_it_alone_is_found(tmp_path: Path) -> None:
    pq.write_table(adapters(3), tmp_path / "train.parquet")
    pq.write_table(adapters(4), tmp_path / "test.parquet")
    assert len(lora_perf.load(tmp_path, split="test")) == 4


def test_a_split_of_any_name_is_found(tmp_path: Path) -> None:
    tables = write_splits(tmp_path, "{split}-{shard}.parquet", {"train": 3, "extra": 4})
    assert_rows(lora_perf.load(tmp_path, split="extra"), python_rows(tables["extra"]))


# Other sources


def test_a_packed_file_is_a_zoo(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    assert_rows(lora_perf.load(path), python_rows(data))


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_zoo_is_found_by_name(name: str) -> None:
    zoo = lora_perf.load(name)
    assert zoo.fingerprint == verify(EMBEDDED[name])


def test_a_zoo_is_passed_through(data: Any) -> None:
    zoo = lora_perf.load(data)
    assert lora_perf.load(zoo) is zoo


def test_the_sanity_check_of_the_original_is_made_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = lora_perf.load("sanity_check_dataset")
    assert (len(zoo), len(zoo.layout), len(zoo.classes)) == (5, 20, 3)
    assert "synthetic zoo" in caplog.text


def test_the_sanity_check_of_the_original_is_read_where_it_is_there(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data.save_to_disk("sanity_check_dataset")
    assert_rows(lora_perf.load("sanity_check_dataset"), python_rows(data))


# No zoo


@pytest.mark.parametrize("name", ["no/such/zoo", "/no/such", "nothing", "./nothing", "", "~nobody/zoo", "a\0b", "x" * 5000])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    refuses(name, r"embedded zoo \(digits, digits-shared\) or a Hub alias \(1k, .*which is none")


@pytest.mark.parametrize("name", ["notes.txt", "notes", "zoo.pt"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    refuses(tmp_path / name, rf"a zoo at .*{name}: .*; found a file of type (\.txt|\.pt|unknown);")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, r"a folder without state\.json, .*, \*\.parquet or \*\.safetensors;")


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("1,2")
    refuses(tmp_path, r"found a folder without state\.json")


@pytest.mark.parametrize(
    "source", [None, 3, b"digits", ["digits"], {"train": 1}, np.zeros((2, 2))], ids=lambda x: type(x).__name__
)
def test_an_object_of_another_type_is_refused(source: object) -> None:
    refuses(source, rf"a path, a name, a Zoo, .*; found a {type(source).__name__};")


def test_an_iterable_data_set_is_refused(data: Any) -> None:
    refuses(data.to_iterable_dataset(), "found an IterableDataset, which is a stream; load it without streaming")


# Damage


@pytest.mark.parametrize("content", ["", "{", "[]"])
@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
def test_a_damaged_description_is_refused(data: Any, tmp_path: Path, file: str, content: str) -> None:
    data.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / file).write_text(content)
    refuses(tmp_path / "zoo", r"found a damaged save_to_disk folder \(\w+: .+\)")


def test_an_error_without_a_message_is_a_refusal_too(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise AssertionError

    data.save_to_disk(tmp_path / "zoo")
    monkeypatch.setattr(datasets, "load_from_disk", fail)
    refuses(tmp_path / "zoo", r"a damaged save_to_disk folder \(AssertionError: no message\)")


def test_a_damaged_list_of_splits_is_refused(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / "dataset_dict.json").write_text('{"splits"')
    refuses(tmp_path / "zoo", "found a damaged save_to_disk folder")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_arrow_shard_is_refused(data: Any, tmp_path: Path, share: float) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=2)
    shard = tmp_path / "zoo" / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[: int(share * shard.stat().st_size)])
    refuses(tmp_path / "zoo", "found a damaged save_to_disk folder")


def test_a_missing_arrow_shard_is_refused(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=2)
    (tmp_path / "zoo" / "data-00001-of-00002.arrow").unlink()
    refuses(tmp_path / "zoo", r"found a damaged save_to_disk folder .*data-00001-of-00002\.arrow")


def test_an_arrow_shard_of_other_bytes_is_refused(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / "data-00000-of-00001.arrow").write_bytes(b"\xff" * 4096)
    refuses(tmp_path / "zoo", "found a damaged save_to_disk folder")


def test_a_truncated_packed_file_is_refused(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    refuses(path, "truncated or damaged")


@pytest.mark.parametrize("address", ["https://huggingface.co/datasets/a/b", "hf://datasets/a/b", "s3://bucket/loras"])
def test_an_address_is_no_path(address: str) -> None:
    refuses(address, rf"found the address {address}; give the id alone \(OWNER/NAME\), or fetch the files")
