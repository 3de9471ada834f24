"""What `load` opens, wherever it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.io.store import verify
from lora_perf.zoos import EMBEDDED
from tests.io.checks import parts as parts_of
from tests.io.checks import refuses
from tests.io.tables.forms import adapters, assert_rows, python_rows

# save_to_disk folders


def test_a_path_in_every_form_is_a_zoo(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data.save_to_disk(tmp_path / "some" / "zoo", num_shards=3)
    for path in (tmp_path / "some" / "zoo", str(tmp_path / "some" / "zoo"), "~/some/zoo", "some/zoo"):
        zoo = lora_perf.load(path)
        assert_rows(zoo, python_rows(data))
        assert zoo.name == "zoo"
    assert lora_perf.pack("~/some/zoo", "~/zoo.safetensors") == tmp_path / "zoo.safetensors"


def test_the_splits_of_a_data_set_are_the_split_of_the_zoo(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    for source in (parts, tmp_path / "zoo"):
        zoo = lora_perf.load(source)
        assert_rows(zoo, np.concatenate([python_rows(part) for part in parts.values()]))
        assert parts_of(zoo) == [0] * 9 + [1] * 3 + [2] * 5
        for split in ("train", "validation", "test"):
            assert_rows(lora_perf.load(source, split=split), python_rows(parts[split]))
        refuses(source, r"a split 'dev' in .*; found the splits train, validation, test; .*split=", split="dev")


# Parquet


@pytest.mark.parametrize("name", ["zoo.parquet", "zoo.PARQUET"])
def test_a_parquet_file_is_a_zoo(name: str, tmp_path: Path) -> None:
    pq.write_table(adapters(17), tmp_path / name)
    assert_rows(lora_perf.load(tmp_path / name), python_rows(adapters(17)))


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    tables = {name: adapters(3, seed=seed) for name, seed in (("b", 0), ("c", 2), ("a", 4))}
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert_rows(lora_perf.load(tmp_path), np.concatenate([python_rows(tables[name]) for name in "abc"]))


SPLIT_FOLDERS = {
    "names in a sub-folder": "data/{split}-{shard:05d}-of-00002.parquet",
    "names": "{split}-{shard:05d}.parquet",
    "names with an underscore": "{split}_{shard}.parquet",
    "folders": "{split}/{shard:04d}.parquet",
    "folders in a folder": "default/{split}/{shard:04d}.parquet",
}


@pytest.mark.parametrize("pattern", SPLIT_FOLDERS.values(), ids=SPLIT_FOLDERS.keys())
def test_the_shards_of_a_split_are_found(tmp_path: Path, pattern: str) -> None:
    tables = {split: adapters(n, seed=n) for split, n in (("train", 5), ("test", 4), ("validation", 3))}
    for split, table in tables.items():
        for shard, part in enumerate((table.slice(0, 1), table.slice(1))):
            path = tmp_path / pattern.format(split=split, shard=shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, path)
    zoo = lora_perf.load(tmp_path)
    assert_rows(zoo, np.concatenate([python_rows(tables[name]) for name in ("test", "train", "validation")]))
    assert parts_of(zoo) == [2] * 4 + [0] * 5 + [1] * 3
    assert_rows(lora_perf.load(tmp_path, split="test"), python_rows(tables["test"]))
    refuses(tmp_path, r"a split 'extra' in .*; found the splits test, train, validation; .*split=", split="extra")


def test_a_split_of_any_name_is_found(tmp_path: Path) -> None:
    for name, n in (("train", 3), ("extra", 4)):
        pq.write_table(adapters(n), tmp_path / f"{name}-0.parquet")
    assert len(lora_perf.load(tmp_path, split="extra")) == 4


# Other sources


def test_a_packed_file_is_a_zoo(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    assert_rows(lora_perf.load(path), python_rows(data))


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_zoo_is_found_by_name(name: str) -> None:
    assert lora_perf.load(name).fingerprint == verify(EMBEDDED[name])


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
    refuses(name, r"embedded zoo \(digits, digits-shared, digits-mixed\) or a Hub alias \(1k, .*which is none")


@pytest.mark.parametrize("name", ["notes.md", "notes", "zoo.pt"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    refuses(tmp_path / name, rf"a zoo at .*{name}: .*; found a file of type (\.md|\.pt|unknown);")


def test_a_folder_without_files_of_weights_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, r"found a folder without state\.json, .*, \*\.parquet or \*\.safetensors;")
    (tmp_path / "weights.csv").write_text("1,2")
    refuses(tmp_path, r"found a folder without state\.json")


OBJECTS = (None, 3, b"digits", ["digits"], [1], {"train": 1}, {"a": 1}, slice(3), np.zeros((2, 2)))


@pytest.mark.parametrize("source", OBJECTS, ids=lambda x: type(x).__name__)
def test_an_object_of_another_type_is_refused(source: object) -> None:
    refuses(source, rf"a path, a name, a Zoo, .*; found a {type(source).__name__}; load or convert it first")


# Damage


def overwrite(name: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def truncate(share: float) -> Callable[[Path], object]:
    shard = "data-00001-of-00002.arrow"
    return lambda folder: os.truncate(folder / shard, int(share * (folder / shard).stat().st_size))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"{name} of {content!r}": (overwrite(name, content), r"\(\w+: .+\)")
        for name in ("state.json", "dataset_info.json")
        for content in ("", "{", "[]")
    },
    **{f"a shard cut to {share}": (truncate(share), "") for share in (0.0, 0.1, 0.5, 0.9)},
    "a missing shard": (
        lambda folder: (folder / "data-00001-of-00002.arrow").unlink(),
        r".*data-00001-of-00002\.arrow",
    ),
    "a shard of other bytes": (overwrite("data-00000-of-00002.arrow", b"\xff" * 4096), ""),
}


@pytest.mark.parametrize(("spoil", "found"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_saved_data_set_is_refused(spoil: Callable[[Path], object], found: str, data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=2)
    spoil(tmp_path / "zoo")
    refuses(tmp_path / "zoo", f"found a damaged save_to_disk folder {found}")


def test_a_damaged_list_of_splits_is_refused(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / "dataset_dict.json").write_text('{"splits"')
    refuses(tmp_path / "zoo", "found a damaged save_to_disk folder")


def test_an_error_without_a_message_is_a_refusal_too(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise AssertionError

    data.save_to_disk(tmp_path / "zoo")
    monkeypatch.setattr(datasets, "load_from_disk", fail)
    refuses(tmp_path / "zoo", r"a damaged save_to_disk folder \(AssertionError: no message\)")


def test_a_truncated_packed_file_is_refused(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    refuses(path, "truncated or damaged")


@pytest.mark.parametrize("address", ["https://huggingface.co/datasets/a/b", "s3://bucket/loras"])
def test_an_address_is_no_path(address: str) -> None:
    refuses(address, rf"found the address {address}; give the id alone \(OWNER/NAME\), or fetch the files")
