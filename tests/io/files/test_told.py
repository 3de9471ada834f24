"""Tables of adapters as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

import lora_perf
from tests.io.adapters import lay
from tests.io.checks import classes, refuses

CSV, HEADER = "metadata.csv", "file_name,label\n"
DIFFUSERS = "pytorch_lora_weights.safetensors"
WAYS = {
    "as it is": "Run 1/{name}",
    "the folder of a run": "Run 1",
    "with a slash": "Run 1/",
    "backslashes": "Run 1\\{name}",
    "a dot": "./Run 1/{name}",
    "a dot and backslashes": ".\\Run 1\\{name}",
    "the name of the folder": "loras/Run 1/{name}",
    "another case": "RUN 1/{name}",
    "as in an address": "Run%201/{name}",
    "no ending": "Run 1/" + DIFFUSERS.removesuffix(".safetensors"),
    "an absolute path": "{folder}/Run 1/{name}",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_path_finds_its_adapter_however_it_is_written(way: str, tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    written = way.format(name=DIFFUSERS, folder=folder)
    lay(folder, f"Run 1/{DIFFUSERS}", f"run 2/{DIFFUSERS}", texts={CSV: f"{HEADER}{written},cat\nrun 2,dog\n"})
    assert classes(folder) == {f"Run 1/{DIFFUSERS}": "cat", f"run 2/{DIFFUSERS}": "dog"}


def test_a_file_of_that_very_name_counts_before_other_readings(tmp_path: Path) -> None:
    wanted = {"a%20b.safetensors": "x", "a b.safetensors": "y", "A b.safetensors": "z"}
    lay(tmp_path, *wanted, texts={CSV: HEADER + "".join(f"{path},{label}\n" for path, label in wanted.items())})
    assert classes(tmp_path) == wanted


TABLES: dict[str, tuple[str, str | bytes]] = {
    "semicolons": (CSV, "file_name;label\na.safetensors;x, y\n"),
    "tabulators": (CSV, "file_name\tlabel\na.safetensors\tx, y\n"),
    "quotes": (CSV, '"file_name","label"\r\n"a.safetensors","x, y"\r\n'),
    "spaces in the header": (CSV, 'file_name , label\na.safetensors,"x, y"\n'),
    "a byte order mark": (CSV, '\ufefffile_name;label\na.safetensors;"x, y"\n'),
    "a spreadsheet": (CSV, '\ufefffile_name,label\r\n"a.safetensors","x, y"\r\n'),
    "UTF-16": (CSV, 'file_name;label\na.safetensors;"x, y"\n'.encode("utf-16")),
    "a name in another case": ("Metadata.CSV", 'file_name,label\na.safetensors,"x, y"\n'),
}


@pytest.mark.parametrize(("name", "content"), TABLES.values(), ids=TABLES.keys())
def test_tables_of_several_programs_are_read(name: str, content: str | bytes, tmp_path: Path) -> None:
    assert classes(lay(tmp_path, "a", texts={name: content})) == {"a.safetensors": "x, y"}


def test_quotes_and_delimiters_are_part_of_a_value_in_quotes(tmp_path: Path) -> None:
    lay(tmp_path, "ä, b.safetensors", texts={CSV: '\ufefffile_name,label\r\n"ä, b.safetensors","a ""cat"""\r\n'})
    assert classes(tmp_path) == {"ä, b.safetensors": 'a "cat"'}


def test_spaces_around_values_are_no_part_of_them(tmp_path: Path) -> None:
    text = 'label, file_name\ncat, a.safetensors\n dog , b.safetensors \ncat, "c.safetensors"\n,\n,\n'
    lay(tmp_path, "a", " b", "c", texts={CSV: text})
    assert classes(tmp_path) == {" b.safetensors": "dog", "a.safetensors": "cat", "c.safetensors": "cat"}


REFUSED = {
    "a path of several adapters": (
        ["a", "A"],
        HEADER + "a.SAFETENSORS,x\n",
        r"of one adapter in row 1 .*'a\.SAFETENSORS', which may be A\.saf.*, a\.saf",
    ),
    "rows that fit no file where adapters have none": (
        ["cat/0", "cat/1"],
        HEADER + "cat/0.safetensors,x\nimages/7.safetensors,y\n",
        r"none for 1 of 2 \(cat/1\.safetensors\), and 1 row of no file here, the first 'images/7\.saf.*' \(row 2 of .*\)",
    ),
    "a column twice": (
        ["a"],
        "file_name,label,label\na.safetensors,x,y\n",
        r"each column once in .*metadata\.csv; found label twice",
    ),
    "a delimiter in a label without quotes": (
        ["a", "b"],
        HEADER + "a.safetensors,x\nb.safetensors,x, y\n",
        r"2 values in row 2 of .*metadata\.csv; found 3; put values that hold",
    ),
    "another kind of file": (["a", "a.png"], HEADER + "a.safetensors,x\na.png,x\n", r"/a\.png; found no adapter file"),
    "images with labels": (
        ["cat/0"],
        HEADER + "0.png,cat\n1.png,dog\n",
        r"a row in .* for every adapter; found none for 1 of 1",
    ),
}


@pytest.mark.parametrize(("paths", "table", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_rows_that_mean_no_single_adapter_are_refused(paths: list[str], table: str, message: str, tmp_path: Path) -> None:
    refuses(lay(tmp_path, *paths, texts={CSV: table}), message)


def test_a_bad_adapter_needs_no_row(tmp_path: Path) -> None:
    lay(tmp_path, "a", texts={"b.safetensors": bytes(40), CSV: HEADER + "a.safetensors,x\n"})
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert (zoo.names, [one.path for one in zoo.skipped]) == (["a.safetensors"], ["b.safetensors"])


def test_a_table_may_name_the_folder_of_an_adapter(tmp_path: Path) -> None:
    folder = lay(tmp_path, "runs/1/adapter_model.safetensors", texts={CSV: HEADER + "runs/1,cat\n"})
    assert list(classes(folder).values()) == ["cat"]
