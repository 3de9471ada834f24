"""What `load` opens and what `pack` writes, wherever it comes from."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.errors import LoraPerfError
from lora_perf.sources.hub import ALIASES
from lora_perf.store import verify
from lora_perf.zoos import EMBEDDED

from .tables import DOWN, UP, assert_rows, nested, normal, python_rows, table_of

N = 17


def adapters(n: int = N, seed: int = 0) -> pa.Table:
    kinds = ("list", "list")
    return table_of({DOWN: nested(normal(n, 2, 3, seed=seed), kinds), UP: nested(normal(n, 4, 2, seed=seed + 1), kinds)})


@pytest.fixture
def data() -> Any:
    return datasets.Dataset(adapters())


@pytest.fixture
def parts(data: Any) -> Any:
    """A DatasetDict of three splits of 9, 3 and 5 adapters."""
    ranges = {"train": range(9), "validation": range(9, 12), "test": range(12, N)}
    return datasets.DatasetDict({name: data.select(rows) for name, rows in ranges.items()})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which no name resolves and no data set was fetched before."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


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


def test_the_train_split_is_taken_by_default(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    assert_rows(lora_perf.load(tmp_path / "zoo"), python_rows(parts["train"]))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_another_split_is_taken_by_name(parts: Any, tmp_path: Path, split: str) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    assert_rows(lora_perf.load(tmp_path / "zoo", split=split), python_rows(parts[split]))


def test_a_dict_of_data_sets_in_memory_has_splits(parts: Any) -> None:
    assert_rows(lora_perf.load(parts, split="test"), python_rows(parts["test"]))


def test_a_missing_split_lists_those_there_are(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    with pytest.raises(LoraPerfError, match=r"a split 'dev' in zoo; found the splits train, validation, test; .*split="):
        lora_perf.load(tmp_path / "zoo", split="dev")


# Parquet


def test_a_parquet_file_is_a_zoo(tmp_path: Path) -> None:
    pq.write_table(adapters(), tmp_path / "zoo.parquet")
    assert_rows(lora_perf.load(tmp_path / "zoo.parquet"), python_rows(adapters()))


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
    assert_rows(lora_perf.load(tmp_path), python_rows(tables["train"]))
    assert_rows(lora_perf.load(tmp_path, split="test"), python_rows(tables["test"]))


@pytest.mark.parametrize("pattern", SPLIT_FOLDERS.values(), ids=SPLIT_FOLDERS.keys())
def test_a_missing_split_of_parquet_lists_those_there_are(tmp_path: Path, pattern: str) -> None:
    write_splits(tmp_path, pattern, {"train": 3, "test": 4})
    with pytest.raises(LoraPerfError, match=r"a split 'validation' in .*; found the splits test, train; .*split="):
        lora_perf.load(tmp_path, split="validation")


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
    with caplog.at_level(logging.WARNING):
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
    with pytest.raises(LoraPerfError, match=r"embedded zoo \(digits, digits-shared\) or a Hub alias \(1k, .*which is none"):
        lora_perf.load(name)


@pytest.mark.parametrize("name", ["notes.txt", "notes", "zoo.pt"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(LoraPerfError, match=rf"a zoo at .*{name}: .*; found a file of type (\.txt|\.pt|unknown);"):
        lora_perf.load(tmp_path / name)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"found a folder without state\.json, dataset_dict\.json or \*\.parquet"):
        lora_perf.load(tmp_path)


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("1,2")
    with pytest.raises(LoraPerfError, match=r"found a folder without state\.json"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize(
    "source", [None, 3, b"digits", ["digits"], {"train": 1}, np.zeros((2, 2))], ids=lambda x: type(x).__name__
)
def test_an_object_of_another_type_is_refused(source: object) -> None:
    with pytest.raises(LoraPerfError, match=rf"a path, a name, a Zoo, .*; found a {type(source).__name__};"):
        lora_perf.load(source)


def test_an_iterable_data_set_is_refused(data: Any) -> None:
    with pytest.raises(LoraPerfError, match=r"found a IterableDataset; load or convert it first"):
        lora_perf.load(data.to_iterable_dataset())


# Damage


@pytest.mark.parametrize("content", ["", "{", "[]"])
@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
def test_a_damaged_description_is_refused(data: Any, tmp_path: Path, file: str, content: str) -> None:
    data.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / file).write_text(content)
    with pytest.raises(LoraPerfError, match=r"found a damaged save_to_disk folder \(\w+: .+\)"):
        lora_perf.load(tmp_path / "zoo")


def test_a_damaged_list_of_splits_is_refused(parts: Any, tmp_path: Path) -> None:
    parts.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / "dataset_dict.json").write_text('{"splits"')
    with pytest.raises(LoraPerfError, match="found a damaged save_to_disk folder"):
        lora_perf.load(tmp_path / "zoo")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_arrow_shard_is_refused(data: Any, tmp_path: Path, share: float) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=2)
    shard = tmp_path / "zoo" / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[: int(share * shard.stat().st_size)])
    with pytest.raises(LoraPerfError, match="found a damaged save_to_disk folder"):
        lora_perf.load(tmp_path / "zoo")


def test_a_missing_arrow_shard_is_refused(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo", num_shards=2)
    (tmp_path / "zoo" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(LoraPerfError, match=r"found a damaged save_to_disk folder .*data-00001-of-00002\.arrow"):
        lora_perf.load(tmp_path / "zoo")


def test_an_arrow_shard_of_other_bytes_is_refused(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / "data-00000-of-00001.arrow").write_bytes(b"\xff" * 4096)
    with pytest.raises(LoraPerfError, match="found a damaged save_to_disk folder"):
        lora_perf.load(tmp_path / "zoo")


def test_a_truncated_packed_file_is_refused(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(LoraPerfError, match="truncated or damaged"):
        lora_perf.load(path)


# The Hub


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("name", "repository"), [*ALIASES.items(), ("somebody/something", "somebody/something")])
def test_a_hub_data_set_without_a_network_is_one_clear_error_at_once(name: str, repository: str) -> None:
    start = time.perf_counter()
    with pytest.raises(LoraPerfError, match=f"run `hf download {repository} --repo-type dataset --local-dir FOLDER`"):
        lora_perf.load(name)
    assert time.perf_counter() - start < 5


@pytest.mark.usefixtures("offline")
def test_the_clients_of_the_hub_are_online_again_after_an_error() -> None:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    with pytest.raises(LoraPerfError):
        lora_perf.load("1k")
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)


def test_a_hub_data_set_is_read_like_any_other(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load_dataset(repository: str, *, split: str) -> Any:
        asked.append((repository, split))
        return data

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    zoo = lora_perf.load("1k", split="test")
    assert asked == [("jacekduszenko/lora-ws-1k", "test")]
    assert_rows(zoo, python_rows(data))


# Packing


def saved(data: Any, folder: Path) -> Any:
    data.save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def saved_parts(data: Any, folder: Path) -> Any:
    datasets.DatasetDict({"train": data}).save_to_disk(folder / "parts")
    return folder / "parts"


def parquet(data: Any, folder: Path) -> Any:
    (folder / "parquet").mkdir()
    data.to_parquet(folder / "parquet" / "train-00000-of-00001.parquet")
    return folder / "parquet"


def packed(data: Any, folder: Path) -> Any:
    return lora_perf.pack(data, folder / "packed.safetensors")


SOURCES: dict[str, Callable[[Any, Path], Any]] = {
    "a data set": lambda data, _: data,
    "a shuffled data set": lambda data, _: data.shuffle(seed=1),
    "a dict of data sets": lambda data, _: datasets.DatasetDict({"train": data}),
    "a saved data set": saved,
    "a saved dict": saved_parts,
    "parquet": parquet,
    "a packed file": packed,
    "an embedded zoo": lambda *_: "digits",
    "a zoo": lambda data, _: lora_perf.load(data),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_a_packed_source_is_the_source(data: Any, tmp_path: Path, source: Callable[[Any, Path], Any]) -> None:
    made = source(data, tmp_path)
    path = lora_perf.pack(made, tmp_path / "out" / "zoo.safetensors")
    assert verify(path) == lora_perf.load(made).fingerprint


def test_every_storage_of_one_data_set_has_one_fingerprint(data: Any, tmp_path: Path) -> None:
    names = ("a data set", "a dict of data sets", "a saved data set", "a saved dict", "parquet", "a packed file", "a zoo")
    assert len({lora_perf.load(SOURCES[name](data, tmp_path)).fingerprint for name in names}) == 1


def test_packing_takes_the_split_and_the_label_column(parts: Any, tmp_path: Path) -> None:
    styled = datasets.DatasetDict({name: part.add_column("style", ["ink"] * len(part)) for name, part in parts.items()})
    zoo = lora_perf.load(lora_perf.pack(styled, tmp_path / "zoo.safetensors", label_column="style", split="test"))
    assert zoo.classes == ["ink"]
    assert_rows(zoo, python_rows(parts["test"]))


def test_packing_replaces_a_file(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack("digits", tmp_path / "zoo.safetensors")
    assert_rows(lora_perf.load(lora_perf.pack(data, path)), python_rows(data))
    assert [file.name for file in tmp_path.iterdir()] == ["zoo.safetensors"]


def test_a_zoo_that_is_open_outlives_the_replacement_of_its_file(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    before = lora_perf.load(path)
    lora_perf.pack(data.select([2, 1]), path)
    assert_rows(before, python_rows(data))
    assert len(lora_perf.load(path)) == 2


def test_a_packed_file_can_be_packed_onto_itself(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    assert_rows(lora_perf.load(lora_perf.pack(path, path)), python_rows(data))


def test_a_source_that_fails_leaves_the_packed_file_as_it_was(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    before = path.read_bytes()
    broken = datasets.Dataset(
        pa.concat_tables([adapters(), adapters(2).set_column(0, DOWN, pa.nulls(2, adapters().schema.field(DOWN).type))])
    )
    with pytest.raises(LoraPerfError, match=f"a null in row {N};"):
        lora_perf.pack(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["zoo.safetensors"]


def test_a_target_below_a_file_is_refused(data: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoraPerfError, match=r"that can be written for .*zoo\.safetensors; found "):
        lora_perf.pack(data, tmp_path / "file" / "zoo.safetensors")


def test_a_target_that_is_a_folder_is_refused(data: Any, tmp_path: Path) -> None:
    (tmp_path / "zoo.safetensors").mkdir()
    with pytest.raises(LoraPerfError, match=r"that can be written for .*zoo\.safetensors; found Is a directory"):
        lora_perf.pack(data, tmp_path / "zoo.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["zoo.safetensors"]
