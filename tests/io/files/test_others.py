"""Folders as trainers, file managers, the Hub's cache and people leave them: read as they are meant, or told of."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import lora_perf
from lora_perf.inspect import inspection
from tests.io.adapters import factors, lay, save, tensors, zoo_folder
from tests.io.checks import classes, refuses

FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]
PEFT = "adapter_model.safetensors"
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4})

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


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("a/snapshots/1", "b/snapshots/2", "b/snapshots/3"), r"in .*/b; found 2, which are versions of the same rows: 2, 3;"),
        (("snapshots/0a1b/cat", "snapshots/2c3d/cat"), r"in .*; found 2, which are versions of the same rows: 0a1b, 2c3d"),
    ],
)
def test_two_snapshots_of_one_repository_are_named(paths: tuple[str, ...], message: str, tmp_path: Path) -> None:
    refuses(lay(tmp_path, *(f"{path}/{PEFT}" for path in paths)), f"one snapshot {message}")


# Links


def test_two_links_to_one_file_elsewhere_are_refused(tmp_path: Path) -> None:
    lay(tmp_path / "store", "a")
    zoo_folder(tmp_path / "zoo")
    for name in ("cat/x", "dog/x"):
        (tmp_path / "zoo" / f"{name}.safetensors").symlink_to(tmp_path / "store" / "a.safetensors")
    refuses(tmp_path / "zoo", r"each adapter once in .*; found dog/x\.saf.*, a link to the file of cat/x\.safet")
    assert lora_perf.load(tmp_path / "zoo", skip_bad=True).names == sorted([*FOUR, "cat/x.safetensors"])


def test_another_name_of_one_file_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    os.link(tmp_path / "cat" / "0.safetensors", tmp_path / "dog" / "0.safetensors")
    assert len(lora_perf.load(tmp_path)) == 5
    assert "another name (a hard link) of an adapter that is read too: dog/0.safetensors" in caplog.text


def test_of_two_links_to_one_folder_the_first_by_name_is_the_class(tmp_path: Path) -> None:
    lay(tmp_path / "store", "a/a", "b/b")
    (tmp_path / "zoo").mkdir()
    for name, to in (("kat", "a"), ("dog", "b"), ("cat", "a"), ("Cat", "a")):
        (tmp_path / "zoo" / name).symlink_to(tmp_path / "store" / to)
    assert classes(tmp_path / "zoo") == {"Cat/a.safetensors": "Cat", "dog/b.safetensors": "dog"}


# Names in any case, and folders that are called like files


def test_a_configuration_counts_in_any_case(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        lay(tmp_path / name / "run", "Adapter_Model.SafeTensors", dialect="peft", texts={"Adapter_Config.JSON": CONFIG})
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["cat", "dog"]
    assert torch.equal(zoo.scales, torch.full((2, 3), 2.0))
    single = inspection(tmp_path / "cat" / "run" / "Adapter_Model.SafeTensors")
    assert not single.problems
    assert not any("taken as 1" in note.text for note in single.notes)


def test_a_class_may_be_called_like_a_file(tmp_path: Path) -> None:
    wanted = {"v1.safetensors/a.safetensors": "v1.safetensors", "v2.safetensors/b.safetensors": "v2.safetensors"}
    assert classes(lay(tmp_path, *wanted)) == wanted


# What stands beside


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
PAGE = "<!DOCTYPE html><html>Sign in</html>"


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "dog/metadata.json", "dog/adapter_config.json"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (POINTER, r"a pointer of Git LFS, .*; fetch .* `git lfs pull`"),
        (PAGE, r"an HTML page; fetch the file again: a server sent this"),
    ],
    ids=["pointer", "page"],
)
def test_what_stands_in_the_place_of_a_table_is_said(name: str, content: str, found: str, tmp_path: Path) -> None:
    others = {"cat/metadata.json": '{"label": "cat"}'} if name == "dog/metadata.json" else {}
    lay(tmp_path, "cat/0", "dog/1", dialect="peft", texts={name: content, **others})
    refuses(tmp_path, rf"a readable .*{name}.*; found {found}")


def test_a_description_with_a_label_beside_several_adapters_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "cat/0", "cat/2", texts={"cat/metadata.json": '{"label": "lion"}'})
    refuses(tmp_path, r"one adapter beside .*/cat/metadata\.json; found several, so that it is ambiguous")


CAPTIONS = '{"file_name": "0.png", "text": "a cat"}\n{"file_name": "1.jpg", "text": "a dog"}\n'
# What lies beside four adapters, and what is said of it.
BESIDE: dict[str, tuple[str, str]] = {
    "cat/metadata.json": (
        '{"name": "cats", "trainedWords": ["cat"]}',
        "metadata.json beside several adapters and without a label left alone: cat/metadata.json",
    ),
    "metadata.jsonl": (CAPTIONS, "left alone: metadata.jsonl"),
    "train/metadata.jsonl": (CAPTIONS, "left alone: train/metadata.jsonl"),
    "test/images/metadata.jsonl": (CAPTIONS, "left alone: test/images/metadata.jsonl"),
    "cat/metadata.csv": ("file_name,text\n1.png,a cat\n", "1 table of sub-folders left alone: cat/metadata.csv"),
    **dict.fromkeys(
        ("metadata.tsv", "metadata.xlsx", "Metadata.YAML"),
        ("file_name\tlabel\n0.safetensors\tcat\n", "1 table of a kind that is not read (write metadata.csv) left alone: "),
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_descriptions_of_something_else_are_left_alone(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content, told = BESIDE[name]
    zoo_folder(tmp_path)
    lay(tmp_path, texts={name: content})
    assert list(classes(tmp_path).values()) == ["cat", "cat", "dog", "dog"]
    assert told in caplog.text
    assert name in caplog.text
    assert not inspection(tmp_path).problems


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "@eaDir", "#recycle", "System Volume Information"])
def test_folders_of_systems_are_no_classes(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert lora_perf.load(lay(tmp_path, "cat/0", "dog/1", f"{name}/old")).classes == ["cat", "dog"]
    assert f"1 folder of the system left alone: {name}" in caplog.text


def test_the_folder_that_is_meant_is_named(tmp_path: Path) -> None:
    lay(tmp_path, "out/v1/cat/0", "out/v1/dog/1")
    refuses(tmp_path, r"several sub-folders above 2 of 2 .*; give the path of .*/out/v1 if its folders are")
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
    assert len(lora_perf.load(tmp_path)) == 4
    assert f"1 file of {kind} left alone: cat/style-TI.safetensors" in caplog.text


def test_archives_are_told_of(tmp_path: Path) -> None:
    lay(tmp_path, texts={"loras.ZIP": "", "more.tar.gz": ""})
    refuses(tmp_path, r"2 archives left alone: loras\.ZIP, more\.tar\.gz")
