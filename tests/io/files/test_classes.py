"""The classes of a folder of adapter files, and its tree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import lora_perf
from lora_perf.io.files.tree import walk
from tests.io.adapters import lay
from tests.io.checks import labels, parts, refuses

# How a class can be written beside the names of the folders.
FORMS = ("csv", "jsonl", "json")
A, B, C = "0/a.safetensors", "1/a.safetensors", "2/a.safetensors"


def describe(folder: Path, form: str, rows: Mapping[str, Mapping[str, Any]], file_column: str = "file_name") -> Path:
    """Writes the metadata of files in one of the forms."""
    if form == "json":
        for path, row in rows.items():
            (folder / path).parent.joinpath("metadata.json").write_text(json.dumps(row))
    elif form == "jsonl":
        lines = [json.dumps({file_column: path, **row}) for path, row in rows.items()]
        (folder / "metadata.jsonl").write_text("\n\n".join(lines) + "\n")
    else:
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        lines = [",".join([file_column, *columns])]
        lines += [",".join([path, *(str(row.get(column, "")) for column in columns)]) for path, row in rows.items()]
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


# Sub-folders

ALIKE = ["a", "a b", "a-b", "a.b", "a0"]
SUB_FOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "plain": (["dog/b", "cat/c", "dog/a"], ["cat", "dog", "dog"]),
    "names that sort beside their separators": (
        [f"{name}/{i}" for name in ALIKE for i in range(2)],
        [name for name in ALIKE for _ in "01"],
    ),
    "numbers": (["10/a", "9/a", "1/a"], ["1", "10", "9"]),
    **{
        f"{name}, whose folder is its own": (
            [f"dog/run 1/{name}", f"dog/run 2/{name}", f"cat/run 3/{name}", "cat/plain"],
            ["cat", "cat", "dog", "dog"],
        )
        for name in ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
    },
}


@pytest.mark.parametrize(("paths", "wanted"), SUB_FOLDERS.values(), ids=SUB_FOLDERS.keys())
def test_a_sub_folder_is_a_class(paths: list[str], wanted: list[str], tmp_path: Path) -> None:
    zoo = lora_perf.load(lay(tmp_path, *paths))
    assert (labels(zoo), zoo.split) == (wanted, None)
    assert zoo.classes == sorted(set(wanted), key=lambda name: (int(name) if name.isdecimal() else 0, name))


def test_folders_stay_together_in_a_table_of_another_order(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{name}/{i}" for name in ALIKE for i in range(2)))
    describe(tmp_path, "csv", {f"{name}/{i}.safetensors": {"label": name} for i in range(2) for name in ALIKE})
    assert labels(lora_perf.load(tmp_path)) == [name for name in ALIKE for _ in "01"]


NO_CLASS = {
    "no sub-folder": (
        ["a", "b", "cat/c"],
        r"as the name of its one sub-folder; found no sub-folder above 2 of 3 \(a\.safetensors, b\.safetensors\); move them",
    ),
    "the folder of an adapter": (
        ["run/adapter_model.safetensors", "cat/0/adapter_model.safetensors"],
        r"found no folder of a class \(their own folder is the adapter itself\) above 1 of 2 \(run/adapter_model\.saf",
    ),
    "several sub-folders": (
        ["cat/a", "cat/siamese/b"],
        r"found several sub-folders above 1 of 2 \(cat/siamese/b\.safetensors\); move them",
    ),
}


@pytest.mark.parametrize(("paths", "message"), NO_CLASS.values(), ids=NO_CLASS.keys())
def test_adapters_of_no_class_among_others_are_refused(paths: list[str], message: str, tmp_path: Path) -> None:
    refuses(lay(tmp_path, *paths), message)


def test_the_folder_of_an_adapter_alone_has_no_class(tmp_path: Path) -> None:
    assert lora_perf.load(lay(tmp_path, "run/adapter_model.safetensors") / "run").labels is None


def test_a_label_column_asks_for_metadata(tmp_path: Path) -> None:
    message = r"metadata with a column 'style' in .*; found no metadata\.csv, metadata\.jsonl, and no metadata\.json beside"
    refuses(lay(tmp_path, "cat/a"), message, label_column="style")


# Metadata


@pytest.mark.parametrize("column", ["label", "class", "category_label"])
@pytest.mark.parametrize("form", FORMS)
def test_metadata_name_the_classes(form: str, column: str, tmp_path: Path) -> None:
    lay(tmp_path, "x/1/b", "x/2/a", "a")
    rows = {"x/1/b.safetensors": {column: "cat"}, "a.safetensors": {column: "dog"}, "x/2/a.safetensors": {column: "ant"}}
    zoo = lora_perf.load(describe(tmp_path, form, rows))
    assert (zoo.classes, labels(zoo)) == (["ant", "cat", "dog"], ["dog", "cat", "ant"])


@pytest.mark.parametrize("file_column", ["file_name", "file", "path"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_column_of_the_files_has_several_names(form: str, file_column: str, tmp_path: Path) -> None:
    lay(tmp_path, "a", "b")
    describe(tmp_path, form, {"./b.safetensors": {"label": "x"}, "a.safetensors": {"label": "y"}}, file_column)
    assert labels(lora_perf.load(tmp_path)) == ["y", "x"]


@pytest.mark.parametrize("form", FORMS)
def test_another_label_column_is_taken_by_name(form: str, tmp_path: Path) -> None:
    lay(tmp_path, A, B)
    describe(tmp_path, form, {A: {"label": "x", "style": "ink"}, B: {"label": "x", "style": "oil"}})
    assert labels(lora_perf.load(tmp_path, label_column="style")) == ["ink", "oil"]
    message = r"label.* \(colour\) in .*; found the columns .*label, style; name the .*label_column"
    refuses(tmp_path, message, label_column="colour")


def test_the_column_of_the_original_counts_before_others(tmp_path: Path) -> None:
    describe(lay(tmp_path, "a"), "jsonl", {"a.safetensors": {"class": "x", "label": "y", "category_label": "z"}})
    assert labels(lora_perf.load(tmp_path)) == ["z"]


@pytest.mark.parametrize("form", FORMS)
def test_a_split_column_is_the_split(form: str, tmp_path: Path) -> None:
    rows = {path: {"label": "x", "split": part} for path, part in ((A, "test"), (B, "train"), (C, "validation"))}
    assert parts(lora_perf.load(describe(lay(tmp_path, *rows), form, rows))) == [2, 0, 1]


@pytest.mark.parametrize(("form", "values"), [("jsonl", [10, 9, 10]), ("json", [10, 9, 10]), ("csv", ["10", "9", "10"])])
def test_labels_that_are_numbers_are_in_numerical_order(form: str, values: list[Any], tmp_path: Path) -> None:
    rows = {path: {"label": value} for path, value in zip((A, B, C), values, strict=True)}
    zoo = lora_perf.load(describe(lay(tmp_path, *rows), form, rows))
    assert (zoo.classes, labels(zoo)) == (["9", "10"], ["10", "9", "10"])


NO_LABEL = r"a label, text or whole number, in column 'label' for 1/a\.safetensors .*; found "
BAD_ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "a part that is none": (
        "csv jsonl json",
        {"label": "x", "split": "train"},
        {"label": "x", "split": "tset"},
        r"train, validation or test in column 'split' for 1/a\.safetensors .*; found 'tset'",
    ),
    "a part of some adapters": (
        "jsonl json",
        {"label": "x", "split": "train"},
        {"label": "x"},
        r"a part \(split\) of every adapter or of none; found 1 without, such as 1/a\.saf",
    ),
    "numbers and texts": (
        "jsonl json",
        {"label": 3},
        {"label": "cat"},
        r"all texts or all whole numbers; found both, such as 'cat' and 3; write",
    ),
    **{
        f"the label {value!r}": ("jsonl json", {"label": "x"}, {"label": value}, NO_LABEL)
        for value in ("", None, 1.5, True, ["cat"], {})
    },
}


@pytest.mark.parametrize(("forms", "first", "second", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_metadata_that_say_no_class_or_part_are_refused(
    forms: str, first: dict[str, Any], second: dict[str, Any], message: str, tmp_path: Path
) -> None:
    for form in forms.split():
        refuses(describe(lay(tmp_path / form, A, B), form, {A: first, B: second}), message)


def test_a_table_counts_before_descriptions_and_folders(tmp_path: Path) -> None:
    describe(lay(tmp_path, "cat/a"), "json", {"cat/a.safetensors": {"label": "dog"}})
    assert labels(lora_perf.load(tmp_path)) == ["dog"]
    describe(tmp_path, "csv", {"cat/a.safetensors": {"label": "bird"}})
    assert labels(lora_perf.load(tmp_path)) == ["bird"]


@pytest.mark.parametrize("value", ["../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "..", ".", ""])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_outside_the_folder_is_refused(form: str, value: str, tmp_path: Path) -> None:
    describe(lay(tmp_path, "x", "zoo/x") / "zoo", form, {value: {"label": "cat"}})
    refuses(tmp_path / "zoo", rf"a file inside the folder in row 1 of .*metadata\.{form}; found '{value}'")


CSV, JSONL = "metadata.csv", "metadata.jsonl"
TABLES: dict[str, tuple[str, str | bytes, str]] = {
    "an empty label": (CSV, "file_name,label\na.safetensors,\n", r"\(row 1 of .*metadata\.csv\); found ''; label the adapter"),
    "no label": (CSV, "file_name,label\na.safetensors\n", r"for a\.safetensors \(row 1 of .*; found None; label the adapter"),
    "a file that is no text": (JSONL, '{"file_name": 3, "label": "cat"}', r"inside the folder in row 1 of .*; found 3"),
    "a file twice": (
        CSV,
        "file_name,label\na.safetensors,cat\n./a.safetensors,dog\n",
        r"one row a file in .*metadata\.csv; found another for a\.safetensors",
    ),
    "no file column": (CSV, "name,label\na,b\n", r"files \(file_name, file, path\) in .*the columns name, label"),
    "no row": (CSV, "file_name,label\n", r"a row for each adapter in .*metadata\.csv; found no row"),
    "nothing": (JSONL, "", r"a row for each adapter in .*metadata\.jsonl; found no row"),
    "no text": (CSV, b"file_name,label\n\xff,a\n", r"a readable .*metadata\.csv; found .*decode"),
    "an open quote": (CSV, 'file_name,label\n"a,b\n', r"a readable .*metadata\.csv; found unexpected end of data"),
    "no JSON": (JSONL, "{\n", r"a readable .*metadata\.jsonl; found Expecting"),
    "a list": (JSONL, "[1]\n", r"a readable .*metadata\.jsonl; found a line that is no JSON object"),
    "a deep list": (JSONL, "[" * 100_000, r"a readable .*metadata\.jsonl; found maximum recursion"),
}


@pytest.mark.parametrize(("name", "content", "message"), TABLES.values(), ids=TABLES.keys())
def test_a_table_that_is_none_is_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    refuses(lay(tmp_path, "a", texts={name: content}), message)


def test_two_tables_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "a")
    for form in ("csv", "jsonl"):
        describe(tmp_path, form, {"a.safetensors": {"label": "cat"}})
    refuses(tmp_path, r"one table of the classes in .*; found metadata\.csv, metadata\.jsonl; remove one")


def test_adapters_without_a_row_are_named(tmp_path: Path) -> None:
    describe(lay(tmp_path, *"012345"), "csv", {"3.safetensors": {"label": "cat"}})
    message = r"a row in .*csv for every adapter; found none for 5 of 6 \(0\.saf.*, 1\.saf.*, 2\.saf.*, \.\.\. \(5 in all\)\)"
    refuses(tmp_path, message)


def test_a_row_without_its_file_is_a_bad_file(tmp_path: Path) -> None:
    describe(lay(tmp_path, "a"), "csv", {"a.safetensors": {"label": "cat"}, "b.safetensors": {"label": "cat"}})
    refuses(tmp_path, r"/b\.safetensors; found No such file or directory")
    assert [one.path for one in lora_perf.load(tmp_path, skip_bad=True).skipped] == ["b.safetensors"]


# Descriptions


def test_an_adapter_without_a_description_is_named(tmp_path: Path) -> None:
    describe(lay(tmp_path, A, B), "json", {A: {"label": "cat"}})
    refuses(tmp_path, r"a metadata\.json beside every adapter, .*; found none beside 1/a\.safetensors")


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff", "{}"])
def test_a_damaged_description_is_one_bad_adapter(content: str, tmp_path: Path) -> None:
    lay(tmp_path, A, B, texts={"0/metadata.json": '{"label": "cat"}', "1/metadata.json": content})
    refuses(tmp_path, r"(a readable|an entry of the label .*in) .*1/metadata\.json; found ")
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert (len(zoo), [one.path for one in zoo.skipped]) == (1, [B])


# The tree


def test_the_tree_names_what_is_there_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    shown = ("b.safetensors", "a/c.safetensors", "a/adapter_config.json", "metadata.json", "x.bin", "a/y.pt", "z.parquet")
    lay(tmp_path, texts=dict.fromkeys((*shown, ".hidden.safetensors", ".cache/a.safetensors"), ""))
    tree = walk(str(tmp_path))
    assert (tree.adapters, tree.parquet, tree.pickles) == (["a/c.safetensors", "b.safetensors"], ["z.parquet"], 2)
    assert (tree.configs, tree.described) == ({"a": "a/adapter_config.json"}, {"": "metadata.json"})


def test_links_are_followed_and_end(tmp_path: Path) -> None:
    lay(tmp_path, "elsewhere/a", "zoo/cat/b")
    (tmp_path / "zoo" / "dog").symlink_to("../elsewhere")
    (tmp_path / "zoo" / "cat" / "round").symlink_to("..")
    (tmp_path / "zoo" / "cat" / "linked.safetensors").symlink_to("b.safetensors")
    expected = ["cat/b.safetensors", "cat/linked.safetensors", "dog/a.safetensors"]
    assert walk(str(tmp_path / "zoo")).adapters == expected


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read everything: the system's refusal is simulated."""
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    lay(tmp_path, "cat/a")
    monkeypatch.setattr(os, "scandir", refuse)
    refuses(tmp_path, r"found a folder that cannot be read \(Permission denied: .*cat\)")
