"""Folders that are classes, parts of a split, or values of a column; and names that differ in nothing one sees."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.inspect import inspection
from tests.io.adapters import factors, save, tensors


def adapters(folder: Path, *paths: str) -> None:
    for i, path in enumerate(paths):
        save(folder / path, tensors(factors(i)))


def read(folder: Path, **settings: str) -> list[tuple[str, str, int | None]]:
    """Path, class and part of each adapter."""
    zoo = lora_perf.load(folder, **settings)  # type: ignore[arg-type]  # label_column and split are texts
    parts = [None] * len(zoo) if zoo.split is None else zoo.split.tolist()
    return list(zip(zoo.names or [], labels(zoo), parts, strict=True))


def labels(zoo: Zoo) -> list[str]:
    return [zoo.classes[label] for label in zoo.labels.tolist()]


TRAIN_AND_TEST = [
    ("test/cat/2.safetensors", "cat", 2),
    ("train/cat/0.safetensors", "cat", 0),
    ("train/dog/1.safetensors", "dog", 0),
]


def test_parts_above_classes_are_the_split(tmp_path: Path) -> None:
    adapters(tmp_path, "train/cat/0.safetensors", "train/dog/1.safetensors", "test/cat/2.safetensors")
    assert read(tmp_path) == TRAIN_AND_TEST


def test_parts_below_classes_are_the_split(tmp_path: Path) -> None:
    adapters(tmp_path, "cat/train/0.safetensors", "dog/train/1.safetensors", "cat/test/2.safetensors")
    assert read(tmp_path) == [
        ("cat/test/2.safetensors", "cat", 2),
        ("cat/train/0.safetensors", "cat", 0),
        ("dog/train/1.safetensors", "dog", 0),
    ]


@pytest.mark.parametrize(
    ("names", "parts"),
    [(("Train", "TEST"), (0, 2)), (("training", "testing"), (0, 2)), (("train", "eval"), (0, 1)), (("train", "dev"), (0, 1))],
)
def test_parts_have_several_names_in_any_case(names: tuple[str, str], parts: tuple[int, int], tmp_path: Path) -> None:
    adapters(tmp_path, *(f"{name}/cat/{name}.safetensors" for name in names))
    assert {path.split("/")[0]: part for path, _, part in read(tmp_path)} == dict(zip(names, parts, strict=True))


def test_a_single_part_is_no_split(tmp_path: Path) -> None:
    adapters(tmp_path, "train/cat/0.safetensors", "train/dog/1.safetensors")
    assert read(tmp_path) == [("train/cat/0.safetensors", "cat", None), ("train/dog/1.safetensors", "dog", None)]


def test_a_class_may_be_called_train_among_others(tmp_path: Path) -> None:
    adapters(tmp_path, "car/0.safetensors", "plane/1.safetensors", "train/2.safetensors")
    assert [label for _, label, _ in read(tmp_path)] == ["car", "plane", "train"]


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "val", "test"), ("train",)])
def test_parts_without_classes_are_a_split_without_labels(names: tuple[str, ...], tmp_path: Path) -> None:
    adapters(tmp_path, *(f"{name}/a.safetensors" for name in names))
    zoo = lora_perf.load(tmp_path)
    assert zoo.labels is None
    parts = {"train": 0, "val": 1, "test": 2}
    wanted = [parts[path.split("/")[0].lower()] for path in zoo.names]
    assert (zoo.split is None) if len(names) == 1 else (zoo.split is not None and zoo.split.tolist() == wanted)
    assert not inspection(tmp_path).problems


def test_folders_that_are_adapters_are_no_classes_below_parts(tmp_path: Path) -> None:
    adapters(tmp_path, "train/cat/adapter_model.safetensors", "test/cat/adapter_model.safetensors")
    zoo = lora_perf.load(tmp_path)
    assert zoo.labels is None
    assert zoo.split is not None
    assert zoo.split.tolist() == [2, 0]


def test_parts_beside_classes_are_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "train/cat/0.safetensors", "test/cat/1.safetensors", "dog/2.safetensors")
    with pytest.raises(LoraPerfError, match=r"several sub-folders above 2 of 3 \(test/cat/1\.safetensors, train/cat/0\.saf"):
        lora_perf.load(tmp_path)


# A table in each part


def tables(folder: Path, **rows: str) -> None:
    for part, text in rows.items():
        (folder / part / "metadata.csv").write_text(f"file_name,label\n{text}")


def test_a_table_in_each_part_is_the_split(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0.safetensors", "train/1.safetensors", "test/0.safetensors")
    tables(tmp_path, train="0.safetensors,cat\n1.safetensors,dog\n", test="0.safetensors,dog\n")
    assert read(tmp_path) == [
        ("test/0.safetensors", "dog", 2),
        ("train/0.safetensors", "cat", 0),
        ("train/1.safetensors", "dog", 0),
    ]


def test_a_part_without_its_table_is_named(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0.safetensors", "test/0.safetensors")
    tables(tmp_path, train="0.safetensors,cat\n")
    with pytest.raises(LoraPerfError, match=r"below a folder with a table \(train/metadata\.csv\); found 1 elsewhere \(test/0"):
        lora_perf.load(tmp_path)


def test_a_column_that_contradicts_its_folder_is_named(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0.safetensors", "test/0.safetensors")
    for part, told in (("train", "test"), ("test", "test")):
        (tmp_path / part / "metadata.csv").write_text(f"file_name,label,split\n0.safetensors,cat,{told}\n")
    with pytest.raises(LoraPerfError, match=r"for train/0\.saf.* \(row 1 of .*\); found 'test', and another part as the name"):
        lora_perf.load(tmp_path)


def test_a_table_of_the_folder_counts_before_those_of_parts(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0.safetensors", "test/0.safetensors")
    tables(tmp_path, train="0.safetensors,cat\n")
    (tmp_path / "metadata.csv").write_text("file_name,label\ntrain/0.safetensors,x\ntest/0.safetensors,y\n")
    assert read(tmp_path) == [("test/0.safetensors", "y", None), ("train/0.safetensors", "x", None)]


# column=value


@pytest.mark.parametrize("column", ["label", "class", "category_label", "animal"])
def test_a_folder_may_name_the_column_of_its_value(column: str, tmp_path: Path) -> None:
    adapters(tmp_path, f"{column}=cat/0.safetensors", f"{column}=wild%20dog/1.safetensors")
    assert [label for _, label, _ in read(tmp_path)] == ["cat", "wild dog"]


def test_partitions_hold_the_split_too(tmp_path: Path) -> None:
    adapters(tmp_path, "split=train/label=cat/0.safetensors", "split=test/label=dog/1.safetensors")
    assert [(label, part) for _, label, part in read(tmp_path)] == [("dog", 2), ("cat", 0)]


def test_one_of_several_columns_of_partitions_is_taken_by_name(tmp_path: Path) -> None:
    adapters(tmp_path, "style=ink/animal=cat/0.safetensors", "style=oil/animal=cat/1.safetensors")
    assert [label for _, label, _ in read(tmp_path, label_column="style")] == ["ink", "oil"]
    zoo = lora_perf.load(tmp_path)
    assert zoo.labels is None
    assert dict(zoo.metadata) == {"style": ["ink", "oil"], "animal": ["cat", "cat"]}
    with pytest.raises(LoraPerfError, match=r"a folder of the label \(colour\) .*columns style, animal"):
        lora_perf.load(tmp_path, label_column="colour")


def test_a_partition_without_a_value_has_no_label(tmp_path: Path) -> None:
    adapters(tmp_path, "label=cat/0.safetensors", "label=__HIVE_DEFAULT_PARTITION__/1.safetensors")
    with pytest.raises(LoraPerfError, match=r"a label, text or whole number, in column 'label' for label=__HIVE"):
        lora_perf.load(tmp_path)


# Names that differ in nothing one sees


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_two_spellings_of_an_accent_are_one_class(tmp_path: Path) -> None:
    adapters(tmp_path, f"{COMPOSED}/0.safetensors", f"{DECOMPOSED}/1.safetensors", "tea/2.safetensors")
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, sorted(zoo.labels.tolist())) == ([COMPOSED, "tea"], [0, 0, 1])


def test_two_spellings_of_an_accent_in_a_table_are_one_class_and_one_file(tmp_path: Path) -> None:
    adapters(tmp_path, f"{DECOMPOSED}.safetensors", "b.safetensors")
    text = f"file_name,label\n{COMPOSED}.safetensors,{COMPOSED}\nb.safetensors,{DECOMPOSED}\n"
    (tmp_path / "metadata.csv").write_text(text)
    assert lora_perf.load(tmp_path).classes == [COMPOSED]


def test_names_that_differ_in_case_or_spaces_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters(tmp_path, "Cat/0.safetensors", "cat/1.safetensors", "cat /2.safetensors", "dog/3.safetensors")
    with caplog.at_level(logging.WARNING):
        assert lora_perf.load(tmp_path).classes == ["Cat", "cat", "cat ", "dog"]
    assert "classes with nearly the same name: 'Cat' and 'cat' and 'cat '" in caplog.text
    assert [note.text for note in inspection(tmp_path).notes if "same name" in note.text] == [
        "nearly the same name: 'Cat' and 'cat' and 'cat '"
    ]


def test_a_description_beside_each_adapter_counts_before_parts(tmp_path: Path) -> None:
    adapters(tmp_path, "train/0/a.safetensors", "test/1/a.safetensors")
    for path, label in (("train/0", "cat"), ("test/1", "dog")):
        (tmp_path / path / "metadata.json").write_text(json.dumps({"label": label}))
    assert [(label, part) for _, label, part in read(tmp_path)] == [("dog", None), ("cat", None)]
