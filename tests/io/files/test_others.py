"""Folders as trainers, file managers, the Hub's cache and people leave them: read as they are meant, or told of."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.inspect import inspection
from lora_perf.io.parts import part_of
from tests.io.adapters import factors, save, tensors, zoo_folder

FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]
PEFT = "adapter_model.safetensors"
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4})


def adapters(folder: Path, *paths: str, dialect: str = "diffusers") -> None:
    for i, path in enumerate(paths):
        save(folder / path, tensors(factors(i), dialect))


def classes(folder: Path) -> dict[str, str]:
    """The class of each adapter by its path."""
    zoo = lora_perf.load(folder)
    return dict(zip(zoo.names or [], [zoo.classes[label] for label in zoo.labels.tolist()], strict=True))


# The cache of the Hub


def test_snapshots_of_several_repositories_are_adapters_of_one_zoo(tmp_path: Path) -> None:
    rows = ["file_name,label"]
    for i, name in enumerate(("0a1b", "2c3d")):
        path = f"models--user--lora{i}/snapshots/{name}/{PEFT}"
        save(tmp_path / f"models--user--lora{i}/blobs/f00d", tensors(factors(i)))
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).symlink_to(tmp_path / f"models--user--lora{i}/blobs/f00d")
        rows.append(f"{path},{i}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    assert list(classes(tmp_path).values()) == ["0", "1"]


def test_two_snapshots_of_one_repository_among_several_are_named(tmp_path: Path) -> None:
    for i, path in enumerate(("a/snapshots/1", "b/snapshots/2", "b/snapshots/3")):
        save(tmp_path / path / PEFT, tensors(factors(i)))
    with pytest.raises(LoraPerfError, match=r"one snapshot in .*/b; found 2, which are versions of the same rows: 2, 3;"):
        lora_perf.load(tmp_path)


# Links


def test_two_links_to_one_file_elsewhere_are_refused(tmp_path: Path) -> None:
    adapters(tmp_path / "store", "a.safetensors")
    zoo_folder(tmp_path / "zoo")
    for name in ("cat/x", "dog/x"):
        (tmp_path / "zoo" / f"{name}.safetensors").symlink_to(tmp_path / "store" / "a.safetensors")
    with pytest.raises(LoraPerfError, match=r"each adapter once in .*; found dog/x\.saf.*, a link to the file of cat/x\.safet"):
        lora_perf.load(tmp_path / "zoo")
    assert lora_perf.load(tmp_path / "zoo", skip_bad=True).names == sorted([*FOUR, "cat/x.safetensors"])


def test_another_name_of_one_file_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    os.link(tmp_path / "cat" / "0.safetensors", tmp_path / "dog" / "0.safetensors")
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 5
    assert "another name (a hard link) of an adapter that is read too: dog/0.safetensors" in caplog.text


def test_of_two_links_to_one_folder_the_first_by_name_is_the_class(tmp_path: Path) -> None:
    adapters(tmp_path / "store", "a/a.safetensors", "b/b.safetensors")
    (tmp_path / "zoo").mkdir()
    for name, to in (("kat", "a"), ("dog", "b"), ("cat", "a"), ("Cat", "a")):
        (tmp_path / "zoo" / name).symlink_to(tmp_path / "store" / to)
    assert classes(tmp_path / "zoo") == {"Cat/a.safetensors": "Cat", "dog/b.safetensors": "dog"}


# Names in any case, and folders that are called like files


def test_a_configuration_counts_in_any_case(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        save(tmp_path / name / "run" / "Adapter_Model.SafeTensors", tensors(factors(i), "peft"))
        (tmp_path / name / "run" / "Adapter_Config.JSON").write_text(CONFIG)
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["cat", "dog"]
    assert zoo.scales is not None
    assert torch.equal(zoo.scales, torch.full((2, 3), 2.0))
    single = inspection(tmp_path / "cat" / "run" / "Adapter_Model.SafeTensors")
    assert not single.problems
    assert not any("taken as 1" in note.text for note in single.notes)


def test_a_class_may_be_called_like_a_file(tmp_path: Path) -> None:
    adapters(tmp_path, "v1.safetensors/a.safetensors", "v2.safetensors/b.safetensors")
    assert classes(tmp_path) == {
        "v1.safetensors/a.safetensors": "v1.safetensors",
        "v2.safetensors/b.safetensors": "v2.safetensors",
    }


# Splits


@pytest.mark.parametrize(
    ("name", "part"),
    [("train_set", 0), ("Training-Set", 0), ("traindata", 0), ("val_data", 1), ("testset", 2), ("hold-out", 2), ("heldout", 2)],
)
def test_parts_have_the_names_that_people_give(name: str, part: int) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize("name", ["set", "data", "dataset", "trained", "contest", "test2", "cat_set", "devil", ""])
def test_other_names_are_no_parts(name: str) -> None:
    assert part_of(name) is None


def test_a_table_in_the_only_part_is_no_split(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0.safetensors", "train/1.safetensors")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\n0.safetensors,cat\n1.safetensors,dog\n")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist(), zoo.split) == (["cat", "dog"], [0, 1], None)


# What stands beside


def test_a_description_of_a_folder_of_adapters_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "cat" / "metadata.json").write_text('{"name": "cats", "trainedWords": ["cat"]}')
    with caplog.at_level(logging.WARNING):
        assert list(classes(tmp_path).values()) == ["cat", "cat", "dog", "dog"]
    assert "metadata.json beside several adapters and without a label left alone: cat/metadata.json" in caplog.text
    assert not inspection(tmp_path).problems


def test_a_description_with_a_label_beside_several_adapters_is_refused(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "cat" / "metadata.json").write_text('{"label": "lion"}')
    with pytest.raises(LoraPerfError, match=r"one adapter beside .*/cat/metadata\.json; found several"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "dog/metadata.json", "dog/adapter_config.json"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"a pointer of Git LFS, .*; fetch .* `git lfs pull`"),
        ("<!DOCTYPE html><html>Sign in</html>", r"an HTML page; fetch the file again: a server sent this"),
    ],
    ids=["pointer", "page"],
)
def test_what_stands_in_the_place_of_a_table_is_said(name: str, content: str, found: str, tmp_path: Path) -> None:
    adapters(tmp_path, "cat/0.safetensors", "dog/1.safetensors", dialect="peft")
    (tmp_path / name).write_text(content)
    if name == "dog/metadata.json":
        (tmp_path / "cat/metadata.json").write_text('{"label": "cat"}')
    with pytest.raises(LoraPerfError, match=rf"a readable .*{name}.*; found {found}"):
        lora_perf.load(tmp_path)


CAPTIONS = '{"file_name": "0.png", "text": "a cat"}\n{"file_name": "1.jpg", "text": "a dog"}\n'


@pytest.mark.parametrize("where", ["", "train", "test/images"])
def test_captions_of_images_are_no_classes(where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    (tmp_path / where / "metadata.jsonl").write_text(CAPTIONS)
    with caplog.at_level(logging.WARNING):
        assert list(classes(tmp_path).values()) == ["cat", "cat", "dog", "dog"]
    assert "left alone: " in caplog.text
    assert "metadata.jsonl" in caplog.text
    assert not inspection(tmp_path).problems


def test_rows_of_images_with_labels_are_refused(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,cat\n1.png,dog\n")
    with pytest.raises(LoraPerfError, match=r"a row in .* for every adapter; found none for 4 of 4"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "@eaDir", "#recycle", "System Volume Information"])
def test_folders_of_systems_are_no_classes(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    adapters(tmp_path, f"{name}/old.safetensors")
    with caplog.at_level(logging.WARNING):
        assert lora_perf.load(tmp_path).classes == ["cat", "dog"]
    assert f"1 folder of the system left alone: {name}" in caplog.text


@pytest.mark.parametrize("name", ["metadata.tsv", "metadata.xlsx", "Metadata.YAML"])
def test_tables_of_other_kinds_are_told_of(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters(tmp_path, "0.safetensors", "1.safetensors")
    (tmp_path / name).write_text("file_name\tlabel\n0.safetensors\tcat\n")
    with caplog.at_level(logging.WARNING):
        assert lora_perf.load(tmp_path).labels is None
    assert f"1 table of a kind that is not read (write metadata.csv) left alone: {name}" in caplog.text


def test_spaces_around_values_of_a_csv_are_no_part_of_them(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", " b.safetensors", "c.safetensors")
    text = 'label, file_name\ncat, a.safetensors\n dog , b.safetensors \ncat, "c.safetensors"\n,\n,\n'
    (tmp_path / "metadata.csv").write_text(text)
    assert classes(tmp_path) == {" b.safetensors": "dog", "a.safetensors": "cat", "c.safetensors": "cat"}


def test_the_folder_that_is_meant_is_named(tmp_path: Path) -> None:
    adapters(tmp_path, "out/v1/cat/0.safetensors", "out/v1/dog/1.safetensors")
    with pytest.raises(
        LoraPerfError, match=r"several sub-folders above 2 of 2 .*; give the path of .*/out/v1 if its folders are"
    ):
        lora_perf.load(tmp_path)
    assert len(classes(tmp_path / "out" / "v1")) == 2


@pytest.mark.parametrize(
    ("tensors_of", "kind"),
    [
        (("emb_params",), "embeddings"),
        (("clip_l", "clip_g"), "embeddings"),
        (("<cat-toy>",), "embeddings"),
        (("state.0.exp_avg", "state.0.exp_avg_sq"), "training states"),
    ],
)
def test_what_is_no_adapter_by_its_tensors_is_left_alone_whatever_its_name(
    tensors_of: tuple[str, ...], kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "style-TI.safetensors", {name: torch.zeros(2, 3) for name in tensors_of})
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 4
    assert f"1 file of {kind} left alone: cat/style-TI.safetensors" in caplog.text


def test_archives_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "loras.ZIP").touch()
    (tmp_path / "more.tar.gz").touch()
    with pytest.raises(LoraPerfError, match=r"2 archives left alone: loras\.ZIP, more\.tar\.gz"):
        lora_perf.load(tmp_path)
