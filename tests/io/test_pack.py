"""What `pack` writes, whatever the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.io.store import verify
from tests.io.adapters import zoo_folder
from tests.io.tables.forms import DOWN, adapters, assert_rows, python_rows


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


def folder(_: Any, folder: Path) -> Any:
    zoo_folder(folder / "files")
    return folder / "files"


SOURCES: dict[str, Callable[[Any, Path], Any]] = {
    "a data set": lambda data, _: data,
    "a shuffled data set": lambda data, _: data.shuffle(seed=1),
    "a dict of data sets": lambda data, _: datasets.DatasetDict({"train": data}),
    "a saved data set": saved,
    "a saved dict": saved_parts,
    "parquet": parquet,
    "a packed file": packed,
    "a folder of adapter files": folder,
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
    before = path.read_bytes()
    assert_rows(lora_perf.load(lora_perf.pack(path, path)), python_rows(data))
    assert path.read_bytes() == before


def test_a_source_that_fails_leaves_the_packed_file_as_it_was(data: Any, tmp_path: Path) -> None:
    path = lora_perf.pack(data, tmp_path / "zoo.safetensors")
    before = path.read_bytes()
    broken = datasets.Dataset(
        pa.concat_tables([adapters(17), adapters(2).set_column(0, DOWN, pa.nulls(2, adapters(17).schema.field(DOWN).type))])
    )
    with pytest.raises(LoraPerfError, match="a null in row 17;"):
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


@pytest.mark.parametrize(("form", "ending"), [(parquet, "parquet"), (saved, "arrow"), (folder, "safetensors")])
@pytest.mark.parametrize("by", ["pack", "save"])
def test_weights_of_another_kind_are_never_written_over(
    form: Callable[..., Path], ending: str, by: str, tmp_path: Path
) -> None:
    source = form(datasets.Dataset(adapters(4)), tmp_path)
    target = sorted(source.rglob(f"*.{ending}"))[0]
    before = target.read_bytes()
    write = (lambda: lora_perf.pack(source, target)) if by == "pack" else (lambda: lora_perf.load(source).save(target))
    with pytest.raises(LoraPerfError, match="expected a new file, or a packed one to write again"):
        write()
    assert target.read_bytes() == before


def test_a_packed_file_and_what_is_damaged_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "zoo.safetensors"
    for before in (b"", b"of another kind", b"\x08\0\0\0\0\0\0\0{}      "):
        path.write_bytes(before)
        assert len(lora_perf.load(lora_perf.pack(adapters(3), path))) == 3
    assert len(lora_perf.load(lora_perf.load(path)[:2].save(path))) == 2


def test_a_name_that_no_disk_holds_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match="File name too long"):
        lora_perf.pack(adapters(2), tmp_path / ("x" * 300))
