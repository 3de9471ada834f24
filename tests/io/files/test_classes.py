"""The classes of a folder of adapter files, and its tree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io.files.tree import walk
from tests.io.adapters import factors, save, tensors

# How a class can be written beside the names of the folders.
FORMS = ("csv", "jsonl", "json")


def adapters(folder: Path, *paths: str) -> None:
    for i, path in enumerate(paths):
        save(folder / path, tensors(factors(i)))


def describe(folder: Path, form: str, rows: Mapping[str, Mapping[str, Any]], file_column: str = "file_name") -> None:
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


def labels(zoo: Zoo) -> list[str]:
    return [zoo.classes[label] for label in zoo.labels.tolist()]


# Sub-folders


def test_a_sub_folder_is_a_class(tmp_path: Path) -> None:
    adapters(tmp_path, "dog/b.safetensors", "cat/c.safetensors", "dog/a.safetensors")
    zoo = lora_perf.load(tmp_path)
    assert labels(zoo) == ["cat", "dog", "dog"]
    assert zoo.split is None


@pytest.mark.parametrize("form", ["folders", "csv"])
def test_folders_stay_together_whatever_their_names(form: str, tmp_path: Path) -> None:
    names = ["a", "a b", "a-b", "a.b", "a0"]
    adapters(tmp_path, *(f"{name}/{i}.safetensors" for name in names for i in range(2)))
    if form == "csv":
        describe(tmp_path, form, {f"{name}/{i}.safetensors": {"label": name} for i in range(2) for name in names})
    assert labels(lora_perf.load(tmp_path)) == [name for name in names for _ in range(2)]


def test_classes_that_are_numbers_are_in_numerical_order(tmp_path: Path) -> None:
    adapters(tmp_path, "10/a.safetensors", "9/a.safetensors", "1/a.safetensors")
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["1", "9", "10"]
    assert labels(zoo) == ["1", "10", "9"]


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "pytorch_lora_weights.safetensors"])
def test_a_file_that_libraries_always_name_so_has_a_folder_of_its_own(name: str, tmp_path: Path) -> None:
    adapters(tmp_path, f"dog/run 1/{name}", f"dog/run 2/{name}", f"cat/run 3/{name}", "cat/plain.safetensors")
    assert labels(lora_perf.load(tmp_path)) == ["cat", "cat", "dog", "dog"]


def test_folders_named_like_parts_are_the_split(tmp_path: Path) -> None:
    parts = {"train": 0, "validation": 1, "val": 1, "test": 2}
    adapters(tmp_path, *(f"{part}/cat/{i}.safetensors" for i, part in enumerate(parts)))
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["cat"]
    assert zoo.split is not None
    assert zoo.split.tolist() == [parts[part] for part in sorted(parts)]


def test_adapters_without_a_sub_folder_are_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", "b.safetensors", "cat/c.safetensors")
    message = (
        r"as the name of its one sub-folder; found no sub-folder above 2 of 3 \(a\.safetensors, b\.safetensors\); move them"
    )
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_an_adapter_folder_is_no_class(tmp_path: Path) -> None:
    adapters(tmp_path, "run/adapter_model.safetensors", "cat/0/adapter_model.safetensors")
    message = r"found no folder of a class \(their own folder is the adapter itself\) above 1 of 2 \(run/adapter_model\.saf"
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)
    assert lora_perf.load(tmp_path / "run").labels is None


def test_several_sub_folders_are_ambiguous(tmp_path: Path) -> None:
    adapters(tmp_path, "cat/a.safetensors", "cat/siamese/b.safetensors")
    with pytest.raises(
        LoraPerfError, match=r"found several sub-folders above 1 of 2 \(cat/siamese/b\.safetensors\); move them"
    ):
        lora_perf.load(tmp_path)


def test_a_label_column_asks_for_metadata(tmp_path: Path) -> None:
    adapters(tmp_path, "cat/a.safetensors")
    message = r"metadata with a column 'style' in .*; found no metadata\.csv, metadata\.jsonl, and no metadata\.json beside"
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path, label_column="style")


# Metadata


@pytest.mark.parametrize("column", ["label", "class", "category_label"])
@pytest.mark.parametrize("form", FORMS)
def test_metadata_name_the_classes(form: str, column: str, tmp_path: Path) -> None:
    adapters(tmp_path, "x/1/b.safetensors", "x/2/a.safetensors", "a.safetensors")
    rows = {"x/1/b.safetensors": {column: "cat"}, "a.safetensors": {column: "dog"}, "x/2/a.safetensors": {column: "ant"}}
    describe(tmp_path, form, rows)
    zoo = lora_perf.load(tmp_path)
    assert zoo.classes == ["ant", "cat", "dog"]
    assert labels(zoo) == ["dog", "cat", "ant"]


@pytest.mark.parametrize("file_column", ["file_name", "file", "path"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_column_of_the_files_has_several_names(form: str, file_column: str, tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", "b.safetensors")
    describe(tmp_path, form, {"./b.safetensors": {"label": "x"}, "a.safetensors": {"label": "y"}}, file_column)
    assert labels(lora_perf.load(tmp_path)) == ["y", "x"]


@pytest.mark.parametrize("form", FORMS)
def test_another_label_column_is_taken_by_name(form: str, tmp_path: Path) -> None:
    adapters(tmp_path, "1/a.safetensors", "2/b.safetensors")
    rows = {"1/a.safetensors": {"label": "x", "style": "ink"}, "2/b.safetensors": {"label": "x", "style": "oil"}}
    describe(tmp_path, form, rows)
    assert labels(lora_perf.load(tmp_path, label_column="style")) == ["ink", "oil"]
    with pytest.raises(
        LoraPerfError, match=r"label.* \(colour\) in .*; found the columns .*label, style; name the .*label_column"
    ):
        lora_perf.load(tmp_path, label_column="colour")


def test_the_column_of_the_original_counts_before_others(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    describe(tmp_path, "jsonl", {"a.safetensors": {"class": "x", "label": "y", "category_label": "z"}})
    assert labels(lora_perf.load(tmp_path)) == ["z"]


@pytest.mark.parametrize("form", FORMS)
def test_a_split_column_is_the_split(form: str, tmp_path: Path) -> None:
    parts = {"0/a.safetensors": "test", "1/a.safetensors": "train", "2/a.safetensors": "validation"}
    adapters(tmp_path, *parts)
    describe(tmp_path, form, {path: {"label": "x", "split": part} for path, part in parts.items()})
    zoo = lora_perf.load(tmp_path)
    assert zoo.split is not None
    assert zoo.split.tolist() == [2, 0, 1]


@pytest.mark.parametrize("form", FORMS)
def test_a_part_that_is_none_is_refused(form: str, tmp_path: Path) -> None:
    adapters(tmp_path, "0/a.safetensors", "1/a.safetensors")
    rows = {"0/a.safetensors": {"label": "x", "split": "train"}, "1/a.safetensors": {"label": "x", "split": "tset"}}
    describe(tmp_path, form, rows)
    with pytest.raises(
        LoraPerfError, match=r"train, validation or test in column 'split' for 1/a\.safetensors .*; found 'tset'"
    ):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_part_of_some_adapters_is_refused(form: str, tmp_path: Path) -> None:
    adapters(tmp_path, "0/a.safetensors", "1/a.safetensors")
    describe(tmp_path, form, {"0/a.safetensors": {"label": "x", "split": "train"}, "1/a.safetensors": {"label": "x"}})
    with pytest.raises(LoraPerfError, match=r"a part \(split\) of every adapter or of none; found 1 without, such as 1/a\.saf"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize(("form", "values"), [("jsonl", [10, 9, 10]), ("json", [10, 9, 10]), ("csv", ["10", "9", "10"])])
def test_labels_that_are_numbers_are_in_numerical_order(form: str, values: list[Any], tmp_path: Path) -> None:
    paths = [f"{i}/a.safetensors" for i in range(3)]
    adapters(tmp_path, *paths)
    describe(tmp_path, form, {path: {"label": value} for path, value in zip(paths, values, strict=True)})
    zoo = lora_perf.load(tmp_path)
    assert (zoo.classes, zoo.labels.tolist()) == (["9", "10"], [1, 0, 1])


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_numbers_and_texts_are_not_mixed(form: str, tmp_path: Path) -> None:
    adapters(tmp_path, "0/a.safetensors", "1/a.safetensors")
    describe(tmp_path, form, {"0/a.safetensors": {"label": 3}, "1/a.safetensors": {"label": "cat"}})
    with pytest.raises(LoraPerfError, match=r"all texts or all whole numbers; found both, such as 'cat' and 3; write"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("value", ["", None, 1.5, True, ["cat"], {}])
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_label_that_is_none_is_refused(form: str, value: object, tmp_path: Path) -> None:
    adapters(tmp_path, "0/a.safetensors", "1/a.safetensors")
    describe(tmp_path, form, {"0/a.safetensors": {"label": "x"}, "1/a.safetensors": {"label": value}})
    with pytest.raises(
        LoraPerfError, match=r"a label, text or whole number, in column 'label' for 1/a\.safetensors .*; found "
    ):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("line", ["a.safetensors,", "a.safetensors"])
def test_an_empty_label_of_a_table_is_refused(line: str, tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{line}\n")
    with pytest.raises(
        LoraPerfError, match=r"for a\.safetensors \(row 1 of .*metadata\.csv\); found (''|None); label the adapter"
    ):
        lora_perf.load(tmp_path)


def test_a_table_counts_before_descriptions_and_folders(tmp_path: Path) -> None:
    adapters(tmp_path, "cat/a.safetensors")
    describe(tmp_path, "json", {"cat/a.safetensors": {"label": "dog"}})
    assert labels(lora_perf.load(tmp_path)) == ["dog"]
    describe(tmp_path, "csv", {"cat/a.safetensors": {"label": "bird"}})
    assert labels(lora_perf.load(tmp_path)) == ["bird"]


def test_a_table_may_name_the_folder_of_an_adapter(tmp_path: Path) -> None:
    adapters(tmp_path, "runs/1/adapter_model.safetensors")
    describe(tmp_path, "csv", {"runs/1": {"label": "cat"}})
    assert labels(lora_perf.load(tmp_path)) == ["cat"]


def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    adapters(tmp_path, "ä, b.safetensors")
    (tmp_path / "metadata.csv").write_bytes('\ufefffile_name,label\r\n"ä, b.safetensors","a ""cat"""\r\n'.encode())
    assert labels(lora_perf.load(tmp_path)) == ['a "cat"']


@pytest.mark.parametrize("value", ["../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "..", ".", ""])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_outside_the_folder_is_refused(form: str, value: str, tmp_path: Path) -> None:
    adapters(tmp_path, "x.safetensors", "zoo/x.safetensors")
    describe(tmp_path / "zoo", form, {value: {"label": "cat"}})
    with pytest.raises(LoraPerfError, match=rf"a file inside the folder in row 1 of .*metadata\.{form}; found '{value}'"):
        lora_perf.load(tmp_path / "zoo")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "x.safetensors")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": 3, "label": "cat"}')
    with pytest.raises(LoraPerfError, match=r"a file inside the folder in row 1 of .*; found 3"):
        lora_perf.load(tmp_path)


def test_adapters_without_a_row_are_named(tmp_path: Path) -> None:
    adapters(tmp_path, *(f"{i}.safetensors" for i in range(6)))
    describe(tmp_path, "csv", {"3.safetensors": {"label": "cat"}})
    message = r"a row in .*csv for every adapter; found none for 5 of 6 \(0\.saf.*, 1\.saf.*, 2\.saf.*, \.\.\. \(5 in all\)\)"
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_a_row_without_its_file_is_a_bad_file(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    describe(tmp_path, "csv", {"a.safetensors": {"label": "cat"}, "b.safetensors": {"label": "cat"}})
    with pytest.raises(LoraPerfError, match=r"/b\.safetensors; found No such file or directory"):
        lora_perf.load(tmp_path)
    assert [one.path for one in lora_perf.load(tmp_path, skip_bad=True).skipped] == ["b.safetensors"]


def test_two_rows_of_one_file_are_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    describe(tmp_path, "csv", {"a.safetensors": {"label": "cat"}, "./a.safetensors": {"label": "dog"}})
    with pytest.raises(LoraPerfError, match=r"one row a file in .*metadata\.csv; found another for a\.safetensors"):
        lora_perf.load(tmp_path)


def test_two_tables_are_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    for form in ("csv", "jsonl"):
        describe(tmp_path, form, {"a.safetensors": {"label": "cat"}})
    with pytest.raises(
        LoraPerfError, match=r"one table of the classes in .*; found metadata\.csv, metadata\.jsonl; remove one"
    ):
        lora_perf.load(tmp_path)


TABLES = {
    "no file column": ("metadata.csv", b"name,label\na,b\n", r"files \(file_name, file, path\) in .*the columns name, label"),
    "no row": ("metadata.csv", b"file_name,label\n", r"a row for each adapter in .*metadata\.csv; found no row"),
    "nothing": ("metadata.jsonl", b"", r"a row for each adapter in .*metadata\.jsonl; found no row"),
    "no text": ("metadata.csv", b"file_name,label\n\xff,a\n", r"a readable .*metadata\.csv; found .*decode"),
    "an open quote": ("metadata.csv", b'file_name,label\n"a,b\n', r"a readable .*metadata\.csv; found unexpected end of data"),
    "no JSON": ("metadata.jsonl", b"{\n", r"a readable .*metadata\.jsonl; found Expecting"),
    "a list": ("metadata.jsonl", b"[1]\n", r"a readable .*metadata\.jsonl; found a line that is no JSON object"),
    "a deep list": ("metadata.jsonl", b"[" * 100_000, r"a readable .*metadata\.jsonl; found maximum recursion"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), TABLES.values(), ids=TABLES.keys())
def test_a_table_that_is_none_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_a_folder_named_like_a_table_is_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "metadata.csv").mkdir()
    with pytest.raises(LoraPerfError, match=r"a readable .*metadata\.csv; found a folder"):
        lora_perf.load(tmp_path)


# Descriptions


def test_several_adapters_beside_one_description_are_ambiguous(tmp_path: Path) -> None:
    adapters(tmp_path, "x/a.safetensors", "x/b.safetensors")
    describe(tmp_path, "json", {"x/a.safetensors": {"label": "cat"}})
    with pytest.raises(LoraPerfError, match=r"one adapter beside .*x/metadata\.json; found several, so that it is ambiguous"):
        lora_perf.load(tmp_path)


def test_an_adapter_without_a_description_is_named(tmp_path: Path) -> None:
    adapters(tmp_path, "x/a.safetensors", "y/a.safetensors")
    describe(tmp_path, "json", {"x/a.safetensors": {"label": "cat"}})
    with pytest.raises(LoraPerfError, match=r"a metadata\.json beside every adapter, .*; found none beside y/a\.safetensors"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff", "{}"])
def test_a_damaged_description_is_one_bad_adapter(content: str, tmp_path: Path) -> None:
    adapters(tmp_path, "x/a.safetensors", "y/a.safetensors")
    describe(tmp_path, "json", {path: {"label": "cat"} for path in ("x/a.safetensors", "y/a.safetensors")})
    (tmp_path / "y" / "metadata.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(LoraPerfError, match=r"(a readable|an entry of the label .*in) .*y/metadata\.json; found "):
        lora_perf.load(tmp_path)
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert [one.path for one in zoo.skipped] == ["y/a.safetensors"]
    assert len(zoo) == 1


# The tree


def test_the_tree_names_what_is_there_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a/c.safetensors", "a/adapter_config.json", "metadata.json", "x.bin", "a/y.pt", "z.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (".hidden.safetensors", ".cache/a.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tree = walk(str(tmp_path))
    assert tree.adapters == ["a/c.safetensors", "b.safetensors"]
    assert (tree.parquet, tree.configs, tree.described, tree.pickles) == (
        ["z.parquet"],
        {"a": "a/adapter_config.json"},
        {"": "metadata.json"},
        2,
    )


def test_links_are_followed_and_end(tmp_path: Path) -> None:
    adapters(tmp_path, "elsewhere/a.safetensors", "zoo/cat/b.safetensors")
    (tmp_path / "zoo" / "dog").symlink_to("../elsewhere")
    (tmp_path / "zoo" / "cat" / "round").symlink_to("..")
    (tmp_path / "zoo" / "cat" / "linked.safetensors").symlink_to("b.safetensors")
    expected = ["cat/b.safetensors", "cat/linked.safetensors", "dog/a.safetensors"]
    assert walk(str(tmp_path / "zoo")).adapters == expected


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser may read everything: the system's refusal is simulated."""
    adapters(tmp_path, "cat/a.safetensors")
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(LoraPerfError, match=r"found a folder that cannot be read \(Permission denied: .*cat\)"):
        lora_perf.load(tmp_path)
