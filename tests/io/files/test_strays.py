"""What lies in a folder of adapters beside them: left alone with a word, or refused by name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.inspect import inspection
from tests.io.adapters import factors, save, tensors, zoo_folder
from tests.io.tables import forms as tables


def names(folder: Path) -> list[str]:
    zoo = lora_perf.load(folder)
    assert zoo.names is not None
    return list(zoo.names)


FOUR = ["cat/0.safetensors", "cat/2.safetensors", "dog/1.safetensors", "dog/3.safetensors"]


@pytest.mark.parametrize("ending", [".SAFETENSORS", ".SafeTensors"])
def test_endings_of_adapters_count_in_any_case(ending: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "dog" / "3.safetensors").rename(tmp_path / "dog" / f"3{ending}")
    assert names(tmp_path) == [*FOUR[:3], f"dog/3{ending}"]
    assert inspection(tmp_path).adapters == 4


def test_endings_of_tables_count_in_any_case(tmp_path: Path) -> None:
    pq.write_table(tables.adapters(3), tmp_path / "a.PARQUET")
    pq.write_table(tables.adapters(2, seed=1), tmp_path / "b.parquet")
    expected = np.concatenate([tables.python_rows(tables.adapters(3)), tables.python_rows(tables.adapters(2, seed=1))])
    tables.assert_rows(lora_perf.load(tmp_path), expected)
    assert len(lora_perf.load(tmp_path / "a.PARQUET")) == 3


def test_a_packed_file_is_known_by_its_ending_in_any_case(tmp_path: Path) -> None:
    lora_perf.pack("digits", tmp_path / "zoo.safetensors")
    (tmp_path / "zoo.safetensors").rename(tmp_path / "ZOO.SAFETENSORS")
    assert lora_perf.load(tmp_path / "ZOO.SAFETENSORS").fingerprint == lora_perf.load("digits").fingerprint
    assert inspection(tmp_path / "ZOO.SAFETENSORS").files is None


OWN_WORK = {
    "a packed zoo": lambda folder: lora_perf.pack("digits", folder / "packed.safetensors"),
    "a packed zoo in a class": lambda folder: lora_perf.pack("digits", folder / "cat" / "packed.safetensors"),
    "a packed zoo of a cache": lambda folder: lora_perf.pack("digits", folder / f"results/cache/zoo-{'a1' * 16}.safetensors"),
    "features": lambda folder: save(folder / f"results/cache/stats-{'0' * 32}.safetensors", {"values": torch.ones(4, 3)}),
}


@pytest.mark.parametrize("make", OWN_WORK.values(), ids=OWN_WORK.keys())
def test_what_this_package_wrote_is_never_input(make: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    make(tmp_path)  # type: ignore[operator]  # of a table of functions
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert "1 file that this package wrote left alone: " in caplog.text
    assert [note.text for note in inspection(tmp_path).notes if note.kind == "left alone"] == [
        record.getMessage().split(": ", 1)[1] for record in caplog.records[:1]
    ]


def test_a_folder_of_own_work_alone_says_so(tmp_path: Path) -> None:
    lora_perf.pack("digits", tmp_path / "cat" / "packed.safetensors")
    with pytest.raises(LoraPerfError, match=r"a zoo at .*\(1 file that this package wrote left alone: cat/packed\.safe"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("name", ["r0_emb.safetensors", "learned_embeds.safetensors", "learned_embeds-steps-200.safetensors"])
def test_embeddings_beside_an_adapter_are_left_alone(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, label in enumerate(("cat", "dog")):
        save(tmp_path / label / "r0" / "pytorch_lora_weights.safetensors", tensors(factors(i)))
        save(tmp_path / label / "r0" / name, {"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 12)})
    with caplog.at_level(logging.WARNING):
        zoo = lora_perf.load(tmp_path)
    assert (len(zoo), zoo.classes, zoo.labels.tolist()) == (2, ["cat", "dog"], [0, 1])
    assert f"2 files of embeddings left alone: cat/r0/{name}, dog/r0/{name}" in caplog.text


def test_an_adapter_with_the_name_of_embeddings_is_an_adapter(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "4_emb.safetensors", tensors(factors(4)))
    assert len(lora_perf.load(tmp_path)) == 5


def test_states_of_an_optimizer_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "optimizer.safetensors", tensors(factors(5)))
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert "1 file of training states left alone: cat/optimizer.safetensors" in caplog.text


def test_another_file_without_factors_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "cat" / "model.safetensors")
    with pytest.raises(LoraPerfError, match=r"cat/model\.safetensors; found "):
        lora_perf.load(tmp_path)
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert [one.path for one in zoo.skipped] == ["cat/model.safetensors"]


def test_a_bad_file_in_another_depth_can_be_left_out(tmp_path: Path) -> None:
    """It would have no class, which nobody asks of it."""
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "deep" / "er.safetensors", {"weight": torch.ones(2)})
    assert [one.path for one in lora_perf.load(tmp_path, skip_bad=True).skipped] == ["cat/deep/er.safetensors"]


def test_a_shard_of_an_adapter_is_no_adapter(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    for k in (1, 2):
        save(tmp_path / "cat" / "r" / f"adapter_model-0000{k}-of-00002.safetensors", tensors(factors(k)))
    message = r"adapter_model-00001-of-00002\.safetensors; found shard 1 of 2 of one; save the adapter again"
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)
    assert len(lora_perf.load(tmp_path, skip_bad=True)) == 4


def test_a_file_without_tensors_names_what_leaves_such(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "r" / "adapter_model.safetensors", {}, {"format": "pt"})
    with pytest.raises(LoraPerfError, match=r"adapter_model\.safetensors; found no tensor \(DeepSpeed's ZeRO-3"):
        lora_perf.load(tmp_path)


# Tables and descriptions of other programs


def test_a_log_in_parquet_is_left_alone_among_adapters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    pq.write_table(pa.table({"step": [1, 2], "loss": [0.1, 0.2]}), tmp_path / "cat" / "train_log.parquet")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert "1 parquet file without columns of weights left alone: cat/train_log.parquet" in caplog.text
    assert inspection(tmp_path).adapters == 4


def test_adapters_and_tables_of_weights_are_both_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    pq.write_table(tables.adapters(3), tmp_path / "zoo.parquet")
    message = r"both: 4 adapters \(cat/0\.safetensors, .*\) and 1 table \(zoo\.parquet\); give the path of one"
    for read in (lora_perf.load, inspection):
        with pytest.raises(LoraPerfError, match=message):
            read(tmp_path)


def test_a_packed_zoo_beside_the_tables_it_was_made_of_is_left_alone(tmp_path: Path) -> None:
    pq.write_table(tables.adapters(3), tmp_path / "zoo.parquet")
    lora_perf.pack(tmp_path, tmp_path / "zoo.safetensors")
    tables.assert_rows(lora_perf.load(tmp_path), tables.python_rows(tables.adapters(3)))


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json", "trainer_state.json", "dataset_info.json"])
@pytest.mark.parametrize("content", ["{}", '{"epoch": 3}', "nonsense"])
def test_a_description_of_another_program_among_adapters_is_left_alone(name: str, content: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    (tmp_path / name).write_text(content)
    assert names(tmp_path) == FOUR
    assert inspection(tmp_path).adapters == 4


def test_a_saved_data_set_beside_adapters_is_not_chosen_in_silence(data: object, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path)  # type: ignore[attr-defined]  # `datasets` has no types
    zoo_folder(tmp_path)
    with pytest.raises(LoraPerfError, match=r"a saved data set \(state\.json\) and 4 other files of weights \(cat/0\.saf"):
        lora_perf.load(tmp_path)


def test_saved_data_sets_in_sub_folders_are_named(data: object, tmp_path: Path) -> None:
    for part in ("train", "test"):
        data.save_to_disk(tmp_path / part)  # type: ignore[attr-defined]  # `datasets` has no types
    with pytest.raises(LoraPerfError, match=r"\(saved data sets in test, train.*\); give the path of one of these"):
        lora_perf.load(tmp_path)


# Hidden, unfinished and unreadable files


HIDDEN = {
    "_old/9.safetensors": "1 hidden folder (by a _ or . at the beginning) left alone: cat/_old",
    ".old/9.safetensors": "1 hidden folder (by a _ or . at the beginning) left alone: cat/.old",
    "_9.safetensors": "1 hidden file (by a _ or . at the beginning) left alone: cat/_9.safetensors",
    "._0.safetensors": "1 hidden file (by a _ or . at the beginning) left alone: cat/._0.safetensors",
    "9.safetensors.part": "1 unfinished or older file left alone: cat/9.safetensors.part",
    "9.safetensors.crdownload": "1 unfinished or older file left alone",
    "9.safetensors~": "1 unfinished or older file left alone",
    ".cache/huggingface/download/9.safetensors": "",
}


@pytest.mark.parametrize(("path", "told"), HIDDEN.items())
def test_names_of_no_data_are_left_alone_with_a_word(
    path: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "cat" / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cat" / path).write_bytes((tmp_path / "cat" / "0.safetensors").read_bytes())
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert told in caplog.text
    assert bool(told) == bool(caplog.records)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "cat/metadata.json", "cat/adapter_config.json"])
def test_a_pipe_in_the_place_of_a_description_makes_nobody_wait(name: str, tmp_path: Path) -> None:
    save(tmp_path / "cat" / "adapter_model.safetensors", tensors(factors(), "peft"))
    os.mkfifo(tmp_path / name)
    with pytest.raises(LoraPerfError, match=r"a readable .*; found no regular file"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "cat/metadata.json", "cat/adapter_config.json"])
def test_a_folder_in_the_place_of_a_description_is_no_silence(name: str, tmp_path: Path) -> None:
    """What it would say, a scale or a class, is not known."""
    save(tmp_path / "cat" / "adapter_model.safetensors", tensors(factors(), "peft"))
    (tmp_path / name).mkdir()
    with pytest.raises(LoraPerfError, match=r"a readable .*; found (a folder|no regular file|Is a directory)"):
        lora_perf.load(tmp_path)


def test_a_pipe_as_a_source_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "zoo.parquet")
    with pytest.raises(LoraPerfError, match=r"found no file and no folder \(a pipe, a socket or a device\)"):
        lora_perf.load(tmp_path / "zoo.parquet")


def test_a_pipe_among_shards_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "zoo.parquet")
    with pytest.raises(LoraPerfError, match=r"zoo\.parquet"):
        lora_perf.load(tmp_path)


def test_a_name_that_is_no_text_is_readable_everywhere(tmp_path: Path) -> None:
    """As old archives and Latin-1 disks have them."""
    zoo_folder(tmp_path / "zoo")
    os.rename(os.fsencode(tmp_path / "zoo" / "cat"), os.fsencode(tmp_path / "zoo") + b"/caf\xe9")
    os.rename(os.fsencode(tmp_path / "zoo"), os.fsencode(tmp_path) + b"/z\xf6o")
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/z\xf6o")
    zoo = lora_perf.load(folder)
    assert zoo.classes == ["caf\\xe9", "dog"]
    assert next(iter(zoo.names or ())) == "caf\\xe9/0.safetensors"
    assert zoo.name == "z\\xf6o"
    packed = lora_perf.load(lora_perf.pack(folder, tmp_path / "zoo.safetensors"))
    assert (packed.classes, packed.fingerprint) == (zoo.classes, zoo.fingerprint)


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_pipe_in_a_saved_data_set_makes_nobody_wait(name: str, data: object, tmp_path: Path) -> None:
    data.save_to_disk(tmp_path / "zoo")  # type: ignore[attr-defined]  # `datasets` has no types
    (tmp_path / "zoo" / name).unlink()
    os.mkfifo(tmp_path / "zoo" / name)
    with pytest.raises(LoraPerfError, match=rf"a file of a saved data set at .*{name}; found no regular file"):
        lora_perf.load(tmp_path / "zoo")


def test_captions_in_a_class_are_left_alone_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zoo_folder(tmp_path)
    (tmp_path / "cat" / "metadata.csv").write_text("file_name,text\n1.png,a cat\n")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == FOUR
    assert "1 table of sub-folders left alone: cat/metadata.csv" in caplog.text


def test_a_split_of_adapters_is_not_chosen_in_silence(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    for read in (lora_perf.load, inspection):
        with pytest.raises(LoraPerfError, match=r"no split=\.\.\. for the adapter files in .*, which is taken whole"):
            read(tmp_path, split="test")


def test_a_zoo_of_a_name_outranks_a_folder_of_it_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zoo_folder(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert len(lora_perf.load("digits")) == 1000
    assert "digits is the name of a zoo of its own: write ./digits for what stands here" in caplog.text
    assert len(lora_perf.load("./digits")) == 4
