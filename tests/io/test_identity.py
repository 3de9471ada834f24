"""One identity of a source, of the files that its reader reads: a packed form of yesterday is not taken for today's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.experiment import dataset
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.io import locate
from tests.io.adapters import factors, save, tensors, zoo_folder
from tests.io.checks import refuses
from tests.io.tables import forms as tables


def config(folder: Path, **settings: object) -> ExperimentConfig:
    return ExperimentConfig(dataset=str(folder), output_dir=folder.parent / "out", **settings)  # type: ignore[arg-type]


def rename_class(folder: Path) -> None:
    (folder / "dog").rename(folder / "wolf")


def move_file(folder: Path) -> None:
    (folder / "dog" / "1.safetensors").rename(folder / "cat" / "1.safetensors")


def swap_files(folder: Path) -> None:
    """Both names stay, and so does the list of sizes and times."""
    one, other = folder / "cat" / "0.safetensors", folder / "dog" / "1.safetensors"
    one.rename(folder / "swapped")
    other.rename(one)
    (folder / "swapped").rename(other)


def touch(folder: Path) -> None:
    os.utime(folder / "cat" / "0.safetensors", ns=(0, 0))


def label(folder: Path) -> None:
    (folder / "metadata.csv").write_text("".join(["file_name,label\n", *(f"{p},x\n" for p in paths(folder))]))


def paths(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


def configure(folder: Path) -> None:
    (folder / "cat" / "adapter_config.json").write_text("{}")


def describe(folder: Path) -> None:
    (folder / "cat" / "metadata.json").write_text("{}")


CHANGES = (rename_class, move_file, swap_files, touch, label, configure, describe)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A zoo whose files have times apart, so that a swap is seen."""
    for i, path in enumerate(zoo_folder(tmp_path / "loras")):
        os.utime(path, ns=(i + 1, i + 1))
    return tmp_path / "loras"


def identity(folder: Path, **settings: object) -> Path:
    return dataset.packed_path(config(folder, **settings))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_what_is_read_is_another_identity(change: Callable[[Path], None], folder: Path) -> None:
    before = identity(folder)
    assert identity(folder) == before
    change(folder)
    assert identity(folder) != before


def aged(folder: Path) -> Path:
    """A zoo whose files all have the time of the beginning, as archives set it."""
    for path in zoo_folder(folder):
        os.utime(path, ns=(0, 0))
    return folder


def test_folders_that_change_their_names_are_told_apart_though_times_agree(tmp_path: Path) -> None:
    one, other = (aged(tmp_path / name) for name in ("one", "other"))
    before = identity(one)
    one.rename(tmp_path / "old")
    other.rename(one)
    assert identity(one) != before


def test_a_class_that_is_a_link_elsewhere_since_is_noticed_though_times_agree(tmp_path: Path) -> None:
    stores = [aged(tmp_path / name) for name in ("one", "other")]
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "cat").symlink_to(stores[0] / "cat")
    before = identity(tmp_path / "zoo")
    (tmp_path / "zoo" / "cat").unlink()
    (tmp_path / "zoo" / "cat").symlink_to(stores[1] / "cat")
    assert identity(tmp_path / "zoo") != before


def test_a_file_that_keeps_its_size_and_time_with_another_content_is_noticed(tmp_path: Path) -> None:
    folder = aged(tmp_path / "loras")
    before = identity(folder)
    path = folder / "cat" / "0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    assert identity(folder) != before


def test_other_code_of_the_readers_is_another_identity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(folder)
    monkeypatch.setattr(dataset, "code_version", lambda part: f"another {part}")
    assert identity(folder) != before


@pytest.mark.parametrize("name", ["notes.txt", "cat/preview.png", "results/results.json", ".hidden.safetensors", "_old/x.txt"])
def test_what_is_not_read_is_no_part_of_the_identity(name: str, folder: Path) -> None:
    before = identity(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    assert identity(folder) == before


def test_settings_are_part_of_the_identity(folder: Path) -> None:
    assert len({identity(folder, **one) for one in ({}, {"skip_bad": True}, {"label_column": "style"})}) == 3


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    zoo_folder(tmp_path / "real")
    (tmp_path / "loras").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "loras" / name).symlink_to(tmp_path / "real" / name)
    before = identity(tmp_path / "loras")
    os.utime(tmp_path / "real" / "cat" / "0.safetensors", ns=(7, 7))
    assert identity(tmp_path / "loras") != before


def test_an_identity_holds_whatever_bytes_a_name_has(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "cat").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    found = locate(tmp_path)
    assert found is not None
    assert len(found.identity("category_label")) == 32


def test_a_saved_data_set_is_known_by_its_shards_and_descriptions(data: object, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo")  # type: ignore[attr-defined]  # `datasets` has no types
    found = locate(tmp_path / "zoo")
    assert found is not None
    assert set(found.files) == {"data-00000-of-00001.arrow", "dataset_info.json", "state.json"}


def test_a_split_is_part_of_the_identity_by_its_files(tmp_path: Path) -> None:
    for n, name in enumerate(("train", "test"), start=1):
        pq.write_table(tables.adapters(n), tmp_path / f"{name}-00000-of-00001.parquet")
    files = {split: getattr(locate(tmp_path, split), "files", None) for split in ("train", "test")}
    assert files == {name: (f"{name}-00000-of-00001.parquet",) for name in ("train", "test")}


# The packed form


def test_labels_of_yesterday_are_not_used(folder: Path) -> None:
    dataset.preprocess(config(folder))
    packed = dataset.open_zoo(config(folder))
    assert packed.source.mapped
    assert packed.names == lora_perf.load(folder).names
    rename_class(folder)
    zoo = dataset.open_zoo(config(folder))
    assert zoo.classes == ["cat", "wolf"]
    assert not zoo.source.mapped


def test_packing_inside_the_folder_of_the_data_is_done_once(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    inside = ExperimentConfig(dataset=str(tmp_path), output_dir=tmp_path / "results")
    first = dataset.preprocess(inside)
    assert dataset.preprocess(inside) == first
    assert [path.name for path in (tmp_path / "results" / "cache").iterdir()] == [first.name]
    assert dataset.open_zoo(inside).source.mapped


def test_data_that_change_while_they_are_packed_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = dataset.store.write

    def write_and_change(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]  # a zoo and a path
        move_file(folder)

    monkeypatch.setattr(dataset.store, "write", write_and_change)
    with pytest.raises(LoraPerfError, match="that stands still; found files that changed while they were packed"):
        dataset.preprocess(config(folder))
    assert list((folder.parent / "out" / "cache").iterdir()) == []


def test_the_walk_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[str] = []
    scan = os.scandir

    def watch(path: str) -> object:
        scanned.append(str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", watch)
    dataset.open_zoo(config(folder))
    assert len(scanned) == len(set(scanned)) == 3


# While a zoo is open


def test_a_mistyped_path_is_no_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_folder(tmp_path / "loras")
    monkeypatch.chdir(tmp_path)
    refuses("loras/cta", r"a file or folder at loras/cta; found none in .*loras, which is there; check")
    refuses("zoos/mine.safetensors", r"at zoos/mine\.safetensors; found none, and its ending is that of a file")


def test_adapters_have_their_paths_as_names(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "r" / "adapter_model.safetensors", tensors(factors(), "peft"))
    zoo = lora_perf.load(tmp_path)
    assert zoo.names == ["cat/r/adapter_model.safetensors"]
    assert zoo.called(0) == "adapter 0 (cat/r/adapter_model.safetensors)"
    assert lora_perf.load("digits").called(7) == "adapter 7"
