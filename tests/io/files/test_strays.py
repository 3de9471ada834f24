"""What lies in a folder of adapters beside them: left alone with a word, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.inspect import inspection
from tests.io.adapters import factors, lay, save, tensors, zoo_folder
from tests.io.checks import refuses
from tests.io.tables import forms

FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]


def test_a_packed_file_is_known_by_its_ending_in_any_case(tmp_path: Path) -> None:
    lora_perf.pack("digits", tmp_path / "zoo.safetensors")
    (tmp_path / "zoo.safetensors").rename(tmp_path / "ZOO.SAFETENSORS")
    assert lora_perf.load(tmp_path / "ZOO.SAFETENSORS").fingerprint == lora_perf.load("digits").fingerprint
    assert inspection(tmp_path / "ZOO.SAFETENSORS").files is None


@pytest.mark.parametrize("ending", [".SAFETENSORS", ".SafeTensors"])
def test_endings_of_adapters_count_in_any_case(ending: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "dog" / "3.safetensors").rename(tmp_path / "dog" / f"3{ending}")
    assert lora_perf.load(tmp_path).names == [*FOUR[:3], f"dog/3{ending}"]
    assert inspection(tmp_path).adapters == 4


# What lies beside four adapters, and what is said of it.

Make = Callable[[Path], object]
FACTORS = tensors(factors(5))
EMBEDDINGS = {"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 12)}


def copied(name: str) -> Make:
    return lambda folder: save(folder / name, FACTORS)


HIDDEN_FOLDER = "1 hidden folder (by a _ or . at the beginning) left alone: cat/"
HIDDEN_FILE = "1 hidden file (by a _ or . at the beginning) left alone: cat/"
SAVED = "1 file with the names of those of a saved data set"
OWN = "1 file that this package wrote left alone: "
LEFT: dict[str, tuple[Make, str]] = {
    "a packed zoo": (lambda folder: lora_perf.pack("digits", folder / "packed.safetensors"), OWN),
    "a packed zoo in a class": (lambda folder: lora_perf.pack("digits", folder / "cat" / "packed.safetensors"), OWN),
    "a packed zoo of a cache": (
        lambda folder: lora_perf.pack("digits", folder / f"results/cache/zoo-{'a1' * 16}.safetensors"),
        OWN,
    ),
    "features": (
        lambda folder: save(folder / f"results/cache/stats-{'0' * 32}.safetensors", {"values": torch.ones(4, 3)}),
        OWN,
    ),
    **{
        f"the embeddings {name}": (
            lambda folder, name=name: save(folder / "cat" / f"{name}.safetensors", EMBEDDINGS),  # type: ignore[misc]
            f"1 file of embeddings left alone: cat/{name}.safetensors",
        )
        for name in ("r0_emb", "learned_embeds", "learned_embeds-steps-200")
    },
    "states of an optimizer": (
        copied("cat/optimizer.safetensors"),
        "1 file of training states left alone: cat/optimizer.safetensors",
    ),
    "a log in parquet": (
        lambda folder: pq.write_table(pa.table({"step": [1, 2], "loss": [0.1, 0.2]}), folder / "cat" / "train_log.parquet"),
        "1 parquet file without columns of weights left alone: cat/train_log.parquet",
    ),
    "a hidden folder": (copied("cat/_old/9.safetensors"), HIDDEN_FOLDER + "_old"),
    "a folder with a dot": (copied("cat/.old/9.safetensors"), HIDDEN_FOLDER + ".old"),
    "a hidden file": (copied("cat/_9.safetensors"), HIDDEN_FILE + "_9.safetensors"),
    "a file of a Mac": (copied("cat/._0.safetensors"), HIDDEN_FILE + "._0.safetensors"),
    "a part": (copied("cat/9.safetensors.part"), "1 unfinished or older file left alone: cat/9.safetensors.part"),
    "a download": (copied("cat/9.safetensors.crdownload"), "1 unfinished or older file left alone"),
    "a backup": (copied("cat/9.safetensors~"), "1 unfinished or older file left alone"),
    "what the Hub's client keeps": (copied("cat/.cache/huggingface/download/9.safetensors"), ""),
    **{
        f"{name} of {content}": (
            lambda folder, name=name, content=content: (folder / name).write_text(content),  # type: ignore[misc]
            told and f"{told} left alone: {name}",
        )
        for name, told in {
            "state.json": SAVED,
            "dataset_dict.json": SAVED,
            "trainer_state.json": "",
            "dataset_info.json": "",
        }.items()
        for content in ("{}", '{"epoch": 3}', "nonsense")
    },
}


@pytest.mark.parametrize(("make", "told"), LEFT.values(), ids=LEFT.keys())
def test_what_is_no_adapter_is_left_alone(make: Make, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    make(tmp_path)
    assert lora_perf.load(tmp_path).names == FOUR
    assert told in caplog.text
    assert bool(told) == bool(caplog.records)
    found = inspection(tmp_path)
    assert found.adapters == 4
    if told:
        assert told.split(": ")[0] in " ".join(note.text for note in found.notes if note.kind == "left alone")


def test_embeddings_beside_an_adapter_take_no_class_from_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for label in ("cat", "dog"):
        lay(tmp_path, f"{label}/r0/pytorch_lora_weights.safetensors")
        save(tmp_path / label / "r0" / "r0_emb.safetensors", EMBEDDINGS)
    zoo = lora_perf.load(tmp_path)
    assert (len(zoo), zoo.classes, zoo.labels.tolist()) == (2, ["cat", "dog"], [0, 1])
    assert "2 files of embeddings left alone: cat/r0/r0_emb.safetensors, dog/r0/r0_emb.safetensors" in caplog.text


def test_an_adapter_with_the_name_of_embeddings_is_an_adapter(tmp_path: Path) -> None:
    assert len(lora_perf.load(lay(tmp_path, "cat/0", "cat/4_emb"))) == 2


def test_a_folder_of_own_work_alone_says_so(tmp_path: Path) -> None:
    lora_perf.pack("digits", tmp_path / "cat" / "packed.safetensors")
    refuses(tmp_path, r"a zoo at .*\(1 file that this package wrote left alone: cat/packed\.safe")


# What is named and can be left out


BAD: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no factors": (["cat/model.safetensors"], {"weight": torch.ones(2)}, "found "),
    "no factors in another depth": (["cat/deep/er.safetensors"], {"weight": torch.ones(2)}, "found "),
    "shards": (
        [f"cat/r/adapter_model-0000{k}-of-00002.safetensors" for k in (1, 2)],
        FACTORS,
        "found shard 1 of 2 of one; save the adapter again",
    ),
    "no tensor": (["cat/r/adapter_model.safetensors"], {}, r"found no tensor \(DeepSpeed's ZeRO-3"),
}


@pytest.mark.parametrize(("paths", "content", "found"), BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_whole_adapter_is_named(
    paths: list[str], content: dict[str, Any], found: str, tmp_path: Path
) -> None:
    zoo_folder(tmp_path)
    for path in paths:
        save(tmp_path / path, content, {"format": "pt"})
    refuses(tmp_path, rf"{paths[0]}; {found}")
    assert [one.path for one in lora_perf.load(tmp_path, skip_bad=True).skipped] == paths


# Tables of adapters


def test_adapters_and_tables_of_weights_are_both_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    pq.write_table(forms.adapters(3), tmp_path / "zoo.parquet")
    message = r"both: 4 adapters \(cat/0\.safetensors, .*\) and 1 table \(zoo\.parquet\); give the path of one"
    refuses(tmp_path, message)
    with pytest.raises(LoraPerfError, match=message):
        inspection(tmp_path)


def test_a_packed_zoo_beside_the_tables_it_was_made_of_is_left_alone(tmp_path: Path) -> None:
    pq.write_table(forms.adapters(3), tmp_path / "zoo.parquet")
    lora_perf.pack(tmp_path, tmp_path / "zoo.safetensors")
    forms.assert_rows(lora_perf.load(tmp_path), forms.python_rows(forms.adapters(3)))


def test_a_saved_data_set_beside_adapters_is_not_chosen_in_silence(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path)
    zoo_folder(tmp_path)
    refuses(tmp_path, r"a saved data set \(state\.json\) and 4 other files of weights \(cat/0\.saf")


def test_saved_data_sets_in_sub_folders_are_named(data: Any, tmp_path: Path) -> None:
    for part in ("train", "test"):
        data.save_to_disk(tmp_path / part)
    refuses(tmp_path, r"\(saved data sets in test, train.*\); give the path of one of these")


# Pipes, and names that are no text


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "cat/metadata.json", "cat/adapter_config.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_stands_in_the_place_of_a_description_is_said(make: Make, name: str, tmp_path: Path) -> None:
    """What it would say, a scale or a class, is not known; and a pipe makes nobody wait."""
    make(lay(tmp_path, "cat/adapter_model.safetensors", dialect="peft") / name)
    refuses(tmp_path, r"a readable .*; found (a folder|no regular file|Is a directory)")


def test_a_pipe_as_a_source_or_among_shards_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "zoo.parquet")
    refuses(tmp_path / "zoo.parquet", r"found no file and no folder \(a pipe, a socket or a device\)")
    refuses(tmp_path, r"zoo\.parquet")


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_pipe_in_a_saved_data_set_makes_nobody_wait(name: str, data: Any, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo")
    (tmp_path / "zoo" / name).unlink()
    os.mkfifo(tmp_path / "zoo" / name)
    refuses(tmp_path / "zoo", rf"a file of a saved data set at .*{name}; found no regular file")


def test_a_name_that_is_no_text_is_readable_everywhere(tmp_path: Path) -> None:
    """As old archives and Latin-1 disks have them."""
    zoo_folder(tmp_path / "zoo")
    os.rename(os.fsencode(tmp_path / "zoo" / "cat"), os.fsencode(tmp_path / "zoo") + b"/caf\xe9")
    os.rename(os.fsencode(tmp_path / "zoo"), os.fsencode(tmp_path) + b"/z\xf6o")
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/z\xf6o")
    zoo = lora_perf.load(folder)
    assert (zoo.name, zoo.classes, next(iter(zoo.names or ()))) == ("z\\xf6o", ["caf\\xe9", "dog"], "caf\\xe9/0.safetensors")
    packed = lora_perf.load(lora_perf.pack(folder, tmp_path / "zoo.safetensors"))
    assert (packed.classes, packed.fingerprint) == (zoo.classes, zoo.fingerprint)


# What is meant


def test_a_split_of_adapters_is_not_chosen_in_silence(tmp_path: Path) -> None:
    message = r"no split=\.\.\. for the adapter files in .*, which is taken whole"
    refuses(lay(tmp_path, "cat/0"), message, split="test")
    with pytest.raises(LoraPerfError, match=message):
        inspection(tmp_path, split="test")


def test_a_zoo_of_a_name_outranks_a_folder_of_it_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "digits", "cat/0")
    monkeypatch.chdir(tmp_path)
    assert len(lora_perf.load("digits")) == 1000
    assert "digits is the name of a zoo of its own: write ./digits for what stands here" in caplog.text
    assert len(lora_perf.load("./digits")) == 1
