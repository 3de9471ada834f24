"""Adapters that a folder holds more than once: by links, copies and checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lora_perf
from lora_perf.inspect import inspection
from lora_perf.io.files.doubles import copies_of
from tests.io.adapters import lay, zoo_folder
from tests.io.checks import labels, parts, refuses

FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]


def assert_told(folder: Path, found: str) -> None:
    """Loading refuses the folder, loading without bad files has the four, and the inspection says what is wrong."""
    refuses(folder, rf"each adapter once in .*; found .*{found}.*; remove the")
    assert lora_perf.load(folder, skip_bad=True).names == FOUR
    assert any(found in problem.text for problem in inspection(folder).problems)


@pytest.mark.parametrize("link", ["dog/0.safetensors", "aaa/0.safetensors", "cat/9.safetensors"])
def test_a_link_to_an_adapter_of_the_folder_is_refused(link: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "cat" / "0.safetensors")
    assert_told(tmp_path, "a link to cat/0.safetensors")
    refuses(tmp_path, f"found {link}, a link")


def test_links_to_adapters_elsewhere_are_read(tmp_path: Path) -> None:
    for path in zoo_folder(tmp_path / "real"):
        link = tmp_path / "zoo" / path.relative_to(tmp_path / "real")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert lora_perf.load(tmp_path / "zoo").names == FOUR
    assert lora_perf.load(tmp_path / "zoo").fingerprint == lora_perf.load(tmp_path / "real").fingerprint


@pytest.mark.parametrize("link", ["bird", "aaa", "cat/more"])
def test_a_link_to_a_folder_of_the_folder_is_left_alone(link: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    (tmp_path / link).symlink_to(tmp_path / "dog")
    assert lora_perf.load(tmp_path).names == FOUR
    assert f"1 link to folders that are read already left alone: {link}" in caplog.text


def test_loops_and_broken_links_of_other_files_are_no_matter(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    for link, target in (("round", "."), ("cat/up", ".."), ("notes.txt", "nowhere"), ("gone", "nowhere")):
        (tmp_path / link).symlink_to(target)
    assert lora_perf.load(tmp_path).names == FOUR


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "zoo").symlink_to("nowhere")
    refuses(tmp_path / "zoo", r"zoo', which is a link that leads nowhere; check the spelling")


COPIES = (
    *("0 (1)", "0(2)", "0 - Copy", "0 copy", "Copy of 0", "0 - Copy (2)", "0 - Kopie", "0 (copy)", "0 (another copy)"),
    *("0 (3rd copy)", "0 copy 2", "0 - Copia", "0_backup", "0 - bak", "0 2", "Copia di 0", "0.sync-conflict-2026-AB"),
)


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_an_adapter_is_refused(name: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    shutil.copyfile(tmp_path / "cat" / "0.safetensors", tmp_path / "cat" / f"{name}.safetensors")
    assert_told(tmp_path, "a copy of cat/0.safetensors with the same bytes")


@pytest.mark.parametrize("name", ["cat (1)", "cat - Copy", "Copy of cat"])
def test_a_copied_class_folder_is_refused(name: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    shutil.copytree(tmp_path / "cat", tmp_path / name)
    assert_told(tmp_path, "a copy of cat/0.safetensors with the same bytes")


NAMES = {
    "other bytes": (["0", "0 (1)"], "the names of copies, but other bytes: 1 adapter: cat/0 (1).safetensors"),
    "numbers in brackets without an original": (["style (0)", "style (1)", "style (2)"], ""),
    "numbers behind a space": (["style", "style 1", "style 2"], ""),
    "earlier states": (
        ["a-000002", "a-000004", "a", "b-000001", "c-step00000500", "c"],
        "by their names earlier states of others, near copies: 3 adapters: cat/a-000002.safetensors",
    ),
    **{
        f"the earlier state {name}": (
            ["a", name, "000001", "b_000001"],
            f"earlier states of others, near copies: 1 adapter: cat/{name}.safetensors",
        )
        for name in ("a-000002", "a-step00000500", "a_000000250", "a_epoch_3", "a-epoch10", "0000100_a")
    },
}


@pytest.mark.parametrize(("names", "told"), NAMES.values(), ids=NAMES.keys())
def test_other_adapters_under_like_names_are_read(
    names: list[str], told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, *(f"cat/{name}" for name in names))
    assert len(lora_perf.load(tmp_path)) == len(names)
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


def test_values_of_columns_are_no_names_of_copies() -> None:
    assert copies_of(["label=cat/0.parquet", "label=cat (1)/0.parquet"]) == {}


# Checkpoints


PEFT = "adapter_model.safetensors"
RUNS = {
    "side by side": [f"cat/run 1/checkpoint-500/{PEFT}", f"cat/run 1/checkpoint-1000/{PEFT}", f"dog/{PEFT}"],
    "and the end": [f"cat/run 1/checkpoint-500/{PEFT}", f"cat/run 1/{PEFT}", f"dog/{PEFT}"],
    "in a class": [f"cat/checkpoint-500/{PEFT}", f"cat/checkpoint-1000/{PEFT}", f"dog/a/{PEFT}"],
    "of steps": ["cat/step_10/a", "cat/step_20/a", "dog/b/a"],
    "of epochs": ["cat/epoch1/a", "cat/epoch2/a", "dog/b/a"],
}


@pytest.mark.parametrize("paths", RUNS.values(), ids=RUNS.keys())
def test_checkpoints_of_one_run_are_refused(paths: list[str], tmp_path: Path) -> None:
    message = r"one adapter of each training run in .*; found checkpoints of 1 run, which are near copies: .* in cat.*; keep"
    refuses(lay(tmp_path, *paths), message)
    assert "repeated" in [problem.kind for problem in inspection(tmp_path).problems]


def test_checkpoints_that_a_table_names_are_meant(tmp_path: Path) -> None:
    rows = [f"{path},{i}\n" for i, path in enumerate(RUNS["side by side"])]
    lay(tmp_path, *RUNS["side by side"], texts={"metadata.csv": "".join(["file_name,label\n", *rows])})
    assert len(lora_perf.load(tmp_path)) == 3


def test_a_last_checkpoint_alone_is_an_adapter(tmp_path: Path) -> None:
    lay(tmp_path, f"cat/checkpoint-500/{PEFT}", f"dog/checkpoint-500/{PEFT}")
    assert lora_perf.load(tmp_path).classes == ["cat", "dog"]


def test_folders_of_several_adapters_are_classes_whatever_their_names(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{part}/checkpoint-{k}/{i}" for part in ("test", "train") for k in (1, 2) for i in range(2)))
    zoo = lora_perf.load(tmp_path)
    assert labels(zoo) == ["checkpoint-1", "checkpoint-1", "checkpoint-2", "checkpoint-2"] * 2
    assert parts(zoo) == [2] * 4 + [0] * 4
