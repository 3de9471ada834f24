"""Folders that are classes, parts of a split, or values of a column; and names that differ in nothing one sees."""

from __future__ import annotations

from pathlib import Path

import pytest

import lora_perf
from lora_perf.inspect import inspection
from lora_perf.io.members import part_of
from tests.io.adapters import lay
from tests.io.checks import labels, parts, refuses

CSV = "file_name,label\n"
CAT, CAT_AND_DOG = CSV + "0.safetensors,cat\n", CSV + "0.safetensors,cat\n1.safetensors,dog\n"
Texts = dict[str, str]
PEFT = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("train_set", 0), ("Training-Set", 0), ("traindata", 0), ("val_data", 1), ("testset", 2), ("hold-out", 2)),
        *(("heldout", 2), ("train", 0), ("TEST", 2), ("training", 0), ("testing", 2), ("eval", 1), ("dev", 1)),
        *((name, None) for name in ("set", "data", "dataset", "trained", "contest", "test2", "cat_set", "devil", "")),
    ],
)
def test_parts_have_the_names_that_people_give(name: str, part: int | None) -> None:
    assert part_of(name) == part


# The paths of adapters and other files; the class and the part of each adapter in the order of the paths.
READ: dict[str, tuple[list[str], Texts, list[str] | None, list[int] | None]] = {
    "parts above classes": (["train/cat/0", "train/dog/1", "test/cat/2"], {}, ["cat", "cat", "dog"], [2, 0, 0]),
    "parts below classes": (["cat/train/0", "dog/train/1", "cat/test/2"], {}, ["cat", "cat", "dog"], [2, 0, 0]),
    "parts in any case": (["Train/cat/0", "TEST/cat/1"], {}, ["cat", "cat"], [2, 0]),
    "training and testing": (["training/cat/0", "testing/cat/1"], {}, ["cat", "cat"], [2, 0]),
    "eval": (["train/cat/0", "eval/cat/1"], {}, ["cat", "cat"], [1, 0]),
    "dev": (["train/cat/0", "dev/cat/1"], {}, ["cat", "cat"], [1, 0]),
    "two names of one part": (
        ["train/cat/0", "validation/cat/1", "val/cat/2", "test/cat/3"], {}, ["cat"] * 4, [2, 0, 1, 1]
    ),
    "a single part": (["train/cat/0", "train/dog/1"], {}, ["cat", "dog"], None),
    "a class called train among others": (["car/0", "plane/1", "train/2"], {}, ["car", "plane", "train"], None),
    "two parts without classes": (["train/a", "test/a"], {}, None, [2, 0]),
    "three parts without classes": (["Train/a", "val/a", "test/a"], {}, None, [0, 2, 1]),
    "one part without classes": (["train/a"], {}, None, None),
    "folders that are adapters below parts": ([f"train/cat/{PEFT}", f"test/cat/{PEFT}"], {}, None, [2, 0]),
    "a table in each part": (
        ["train/0", "train/1", "test/0"],
        {"train/metadata.csv": CAT_AND_DOG, "test/metadata.csv": CSV + "0.safetensors,dog\n"},
        ["dog", "cat", "dog"],
        [2, 0, 0],
    ),
    "a table in the only part": (
        ["train/0", "train/1"],
        {"train/metadata.csv": CAT_AND_DOG},
        ["cat", "dog"],
        None,
    ),
    "a table of the folder before those of parts": (
        ["train/0", "test/0"],
        {"train/metadata.csv": CAT, "metadata.csv": CSV + "train/0.safetensors,x\ntest/0.safetensors,y\n"},
        ["y", "x"],
        None,
    ),
    "a description beside each adapter before parts": (
        ["train/0/a", "test/1/a"],
        {"train/0/metadata.json": '{"label": "cat"}', "test/1/metadata.json": '{"label": "dog"}'},
        ["dog", "cat"],
        None,
    ),
    **{
        f"folders of the column {column}": ([f"{column}=cat/0", f"{column}=wild%20dog/1"], {}, ["cat", "wild dog"], None)
        for column in ("label", "class", "category_label", "animal")
    },
    "partitions with the split": (["split=train/label=cat/0", "split=test/label=dog/1"], {}, ["dog", "cat"], [2, 0]),
}  # fmt: skip


@pytest.mark.parametrize(("paths", "texts", "wanted", "split"), READ.values(), ids=READ.keys())
def test_folders_are_classes_and_parts(
    paths: list[str], texts: Texts, wanted: list[str] | None, split: list[int] | None, tmp_path: Path
) -> None:
    zoo = lora_perf.load(lay(tmp_path, *paths, texts=texts))
    assert (None if zoo.labels is None else labels(zoo), parts(zoo)) == (wanted, split)
    assert not inspection(tmp_path).problems


REFUSED: dict[str, tuple[list[str], Texts, str]] = {
    "parts beside classes": (
        ["train/cat/0", "test/cat/1", "dog/2"],
        {},
        r"several sub-folders above 2 of 3 \(test/cat/1\.safetensors, train/cat/0\.saf",
    ),
    "a part without its table": (
        ["train/0", "test/0"],
        {"train/metadata.csv": CAT},
        r"below a folder with a table \(train/metadata\.csv\); found 1 elsewhere \(test/0",
    ),
    "a column that contradicts its folder": (
        ["train/0", "test/0"],
        {f"{part}/metadata.csv": "file_name,label,split\n0.safetensors,cat,test\n" for part in ("train", "test")},
        r"for train/0\.saf.* \(row 1 of .*\); found 'test', and another part as the name",
    ),
    "a partition without a value": (
        ["label=cat/0", "label=__HIVE_DEFAULT_PARTITION__/1"],
        {},
        r"a label, text or whole number, in column 'label' for label=__HIVE",
    ),
}


@pytest.mark.parametrize(("paths", "texts", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_folders_that_are_neither_are_refused(paths: list[str], texts: Texts, message: str, tmp_path: Path) -> None:
    refuses(lay(tmp_path, *paths, texts=texts), message)


def test_one_of_several_columns_of_partitions_is_taken_by_name(tmp_path: Path) -> None:
    lay(tmp_path, "style=ink/animal=cat/0", "style=oil/animal=cat/1")
    assert labels(lora_perf.load(tmp_path, label_column="style")) == ["ink", "oil"]
    zoo = lora_perf.load(tmp_path)
    assert (zoo.labels, dict(zoo.metadata)) == (None, {"style": ["ink", "oil"], "animal": ["cat", "cat"]})
    refuses(tmp_path, r"a folder of the label \(colour\) .*columns style, animal", label_column="colour")


# Names that differ in nothing one sees

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_two_spellings_of_an_accent_are_one_class(tmp_path: Path) -> None:
    zoo = lora_perf.load(lay(tmp_path, f"{COMPOSED}/0", f"{DECOMPOSED}/1", "tea/2"))
    assert (zoo.classes, sorted(zoo.labels.tolist())) == ([COMPOSED, "tea"], [0, 0, 1])


def test_two_spellings_of_an_accent_in_a_table_are_one_class_and_one_file(tmp_path: Path) -> None:
    text = f"{CSV}{COMPOSED}.safetensors,{COMPOSED}\nb.safetensors,{DECOMPOSED}\n"
    assert lora_perf.load(lay(tmp_path, DECOMPOSED, "b", texts={"metadata.csv": text})).classes == [COMPOSED]


def test_names_that_differ_in_case_or_spaces_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert lora_perf.load(lay(tmp_path, "Cat/0", "cat/1", "cat /2", "dog/3")).classes == ["Cat", "cat", "cat ", "dog"]
    assert "classes with nearly the same name: 'Cat' and 'cat' and 'cat '" in caplog.text
    notes = [note.text for note in inspection(tmp_path).notes if "same name" in note.text]
    assert notes == ["nearly the same name: 'Cat' and 'cat' and 'cat '"]
