"""Adapters that a folder holds more than once: by links, copies and checkpoints."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.inspect import inspection
from lora_perf.io.files.doubles import copies_of
from tests.io.adapters import factors, save, tensors, zoo_folder

FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]


def adapters(folder: Path, *paths: str) -> None:
    for i, path in enumerate(paths):
        save(folder / path, tensors(factors(i)))


def names(folder: Path, *, skip_bad: bool = False) -> list[str]:
    return list(lora_perf.load(folder, skip_bad=skip_bad).names or [])


@pytest.mark.parametrize("link", ["dog/0.safetensors", "aaa/0.safetensors", "cat/9.safetensors"])
def test_a_link_to_an_adapter_of_the_folder_is_refused(link: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "cat" / "0.safetensors")
    with pytest.raises(LoraPerfError, match=rf"each adapter once in .*; found {link}, a link to cat/0\.saf.*; remove the link"):
        lora_perf.load(tmp_path)
    assert names(tmp_path, skip_bad=True) == FOUR
    assert any("a link to cat/0.safetensors" in problem.text for problem in inspection(tmp_path).problems)


def test_links_to_adapters_elsewhere_are_read(tmp_path: Path) -> None:
    files = zoo_folder(tmp_path / "real")
    for path in files:
        link = tmp_path / "zoo" / path.relative_to(tmp_path / "real")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert names(tmp_path / "zoo") == FOUR
    assert lora_perf.load(tmp_path / "zoo").fingerprint == lora_perf.load(tmp_path / "real").fingerprint


@pytest.mark.parametrize("link", ["bird", "aaa", "cat/more"])
def test_a_link_to_a_folder_of_the_folder_is_left_alone(link: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    (tmp_path / link).symlink_to(tmp_path / "dog")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert f"1 link to folders that are read already left alone: {link}" in caplog.text


def test_loops_and_broken_links_of_other_files_are_no_matter(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "round").symlink_to(".")
    (tmp_path / "cat" / "up").symlink_to("..")
    (tmp_path / "notes.txt").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    assert names(tmp_path) == FOUR


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "zoo").symlink_to("nowhere")
    with pytest.raises(LoraPerfError, match=r"zoo', which is a link that leads nowhere; check the spelling"):
        lora_perf.load(tmp_path / "zoo")


@pytest.mark.parametrize("name", ["0 (1)", "0(2)", "0 - Copy", "0 copy", "Copy of 0", "0 - Copy (2)", "0 - Kopie"])
def test_a_copy_of_an_adapter_is_refused(name: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    shutil.copyfile(tmp_path / "cat" / "0.safetensors", tmp_path / "cat" / f"{name}.safetensors")
    with pytest.raises(
        LoraPerfError, match=r"each adapter once in .*, a copy of cat/0\.safetensors with the same bytes; remove"
    ):
        lora_perf.load(tmp_path)
    assert names(tmp_path, skip_bad=True) == FOUR
    assert any("a copy of cat/0.safetensors" in problem.text for problem in inspection(tmp_path).problems)


def test_another_adapter_under_the_name_of_a_copy_is_read_and_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "0 (1).safetensors", tensors(factors(9)))
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 5
    assert "the names of copies, but other bytes: 1 adapter: cat/0 (1).safetensors" in caplog.text


def test_numbers_in_brackets_without_an_original_are_names(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"style ({i}).safetensors", tensors(factors(i)))
    assert len(lora_perf.load(tmp_path)) == 3


# Checkpoints


PEFT = "adapter_model.safetensors"
RUNS = {
    "side by side": [f"cat/run 1/checkpoint-500/{PEFT}", f"cat/run 1/checkpoint-1000/{PEFT}", f"dog/{PEFT}"],
    "and the end": [f"cat/run 1/checkpoint-500/{PEFT}", f"cat/run 1/{PEFT}", f"dog/{PEFT}"],
    "in a class": [f"cat/checkpoint-500/{PEFT}", f"cat/checkpoint-1000/{PEFT}", f"dog/a/{PEFT}"],
    "of steps": ["cat/step_10/a.safetensors", "cat/step_20/a.safetensors", "dog/b/a.safetensors"],
    "of epochs": ["cat/epoch1/a.safetensors", "cat/epoch2/a.safetensors", "dog/b/a.safetensors"],
}


@pytest.mark.parametrize("paths", RUNS.values(), ids=RUNS.keys())
def test_checkpoints_of_one_run_are_refused(paths: list[str], tmp_path: Path) -> None:
    for i, path in enumerate(paths):
        save(tmp_path / path, tensors(factors(i)))
    message = (
        r"one adapter of each training run in .*; found checkpoints of 1 run, which are near copies: .* in cat.*; keep the"
    )
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)
    assert "repeated" in [problem.kind for problem in inspection(tmp_path).problems]


def test_checkpoints_that_a_table_names_are_meant(tmp_path: Path) -> None:
    paths = RUNS["side by side"]
    for i, path in enumerate(paths):
        save(tmp_path / path, tensors(factors(i)))
    (tmp_path / "metadata.csv").write_text("".join(["file_name,label\n", *(f"{path},{i}\n" for i, path in enumerate(paths))]))
    assert len(lora_perf.load(tmp_path)) == 3


def test_a_last_checkpoint_alone_is_an_adapter(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        save(tmp_path / name / "checkpoint-500" / PEFT, tensors(factors(i)))
    assert lora_perf.load(tmp_path).classes == ["cat", "dog"]


def test_earlier_states_beside_the_last_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, name in enumerate(("a-000002", "a-000004", "a", "b-000001", "c-step00000500", "c")):
        save(tmp_path / "cat" / f"{name}.safetensors", tensors(factors(i)))
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 6
    assert "by their names earlier states of others, near copies: 3 adapters: cat/a-000002.safetensors" in caplog.text


def test_two_snapshots_of_adapters_are_refused(tmp_path: Path) -> None:
    for i, name in enumerate(("0a1b", "2c3d")):
        save(tmp_path / "snapshots" / name / "cat" / "a.safetensors", tensors(factors(i)))
    with pytest.raises(LoraPerfError, match=r"one snapshot in .*; found 2, which are versions of the same rows: 0a1b, 2c3d"):
        lora_perf.load(tmp_path)


# Names of many programs


@pytest.mark.parametrize(
    "copy",
    [
        "0 (copy)",
        "0 (another copy)",
        "0 (3rd copy)",
        "0 copy 2",
        "0 - Copia",
        "0_backup",
        "0 - bak",
        "0 2",
        "Copia di 0",
        "0.sync-conflict-2026-AB",
    ],
)
def test_copies_have_the_names_of_many_programs(copy: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    shutil.copyfile(tmp_path / "cat" / "0.safetensors", tmp_path / "cat" / f"{copy}.safetensors")
    with pytest.raises(LoraPerfError, match=r"a copy of cat/0\.safetensors with the same bytes; remove the copy"):
        lora_perf.load(tmp_path)
    assert lora_perf.load(tmp_path, skip_bad=True).names == FOUR


@pytest.mark.parametrize("name", ["cat (1)", "cat - Copy", "Copy of cat"])
def test_a_copied_class_folder_is_refused(name: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    shutil.copytree(tmp_path / "cat", tmp_path / name)
    with pytest.raises(LoraPerfError, match=r"a copy of cat/0\.safetensors with the same bytes"):
        lora_perf.load(tmp_path)
    assert lora_perf.load(tmp_path, skip_bad=True).classes == ["cat", "dog"]


def test_numbers_behind_a_space_are_names_where_bytes_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters(tmp_path, *(f"cat/{name}.safetensors" for name in ("style", "style 1", "style 2")))
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 3
    assert not caplog.text


def test_values_of_columns_are_no_names_of_copies() -> None:
    assert copies_of(["label=cat/0.parquet", "label=cat (1)/0.parquet"]) == {}


@pytest.mark.parametrize("name", ["a-000002", "a-step00000500", "a_000000250", "a_epoch_3", "a-epoch10", "0000100_a"])
def test_earlier_states_have_the_names_of_many_trainers(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters(tmp_path, "cat/a.safetensors", f"cat/{name}.safetensors", "dog/000001.safetensors", "dog/b_000001.safetensors")
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load(tmp_path)) == 4
    assert f"earlier states of others, near copies: 1 adapter: cat/{name}.safetensors" in caplog.text


def test_folders_of_several_adapters_are_classes_whatever_their_names(tmp_path: Path) -> None:
    paths = [f"{part}/checkpoint-{k}/{i}.safetensors" for part in ("test", "train") for k in (1, 2) for i in range(2)]
    adapters(tmp_path, *paths)
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["checkpoint-1", "checkpoint-2"], [0, 0, 1, 1] * 2)
    assert zoo.split is not None
