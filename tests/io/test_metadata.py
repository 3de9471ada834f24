"""Tables of adapters as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

import lora_perf
from tests.io.adapters import factors, save, tensors
from tests.io.checks import refuses

DIFFUSERS = "pytorch_lora_weights.safetensors"


def adapters(folder: Path, *paths: str) -> None:
    for i, path in enumerate(paths):
        save(folder / path, tensors(factors(i)))


def labels(folder: Path) -> dict[str, str]:
    zoo = lora_perf.load(folder)
    return dict(zip(zoo.names or [], (zoo.classes[label] for label in zoo.labels.tolist()), strict=True))


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
    adapters(folder, f"Run 1/{DIFFUSERS}", f"run 2/{DIFFUSERS}")
    written = way.format(name=DIFFUSERS, folder=folder)
    (folder / "metadata.csv").write_text(f"file_name,label\n{written},cat\nrun 2,dog\n")
    assert labels(folder) == {f"Run 1/{DIFFUSERS}": "cat", f"run 2/{DIFFUSERS}": "dog"}


def test_a_file_of_that_very_name_counts_before_other_readings(tmp_path: Path) -> None:
    adapters(tmp_path, "a%20b.safetensors", "a b.safetensors", "A b.safetensors")
    rows = "a%20b.safetensors,x\na b.safetensors,y\nA b.safetensors,z\n"
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{rows}")
    assert labels(tmp_path) == {"a%20b.safetensors": "x", "a b.safetensors": "y", "A b.safetensors": "z"}


def test_a_path_of_several_adapters_is_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", "A.safetensors")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.SAFETENSORS,x\n")
    refuses(tmp_path, r"of one adapter in row 1 .*'a\.SAFETENSORS', which may be A\.saf.*, a\.saf")


def test_rows_that_fit_no_file_are_named_where_adapters_have_none(tmp_path: Path) -> None:
    adapters(tmp_path, "cat/0.safetensors", "cat/1.safetensors")
    (tmp_path / "metadata.csv").write_text("file_name,label\ncat/0.safetensors,x\nimages/7.safetensors,y\n")
    message = r"none for 1 of 2 \(cat/1\.safetensors\), and 1 row of no file here, the first 'images/7\.saf.*' \(row 2 of .*\)"
    refuses(tmp_path, message)


TABLES = {
    "semicolons": b"file_name;label\na.safetensors;x, y\n",
    "tabulators": b"file_name\tlabel\na.safetensors\tx, y\n",
    "quotes": b'"file_name","label"\r\n"a.safetensors","x, y"\r\n',
    "spaces in the header": b'file_name , label\na.safetensors,"x, y"\n',
    "a byte order mark": '\ufefffile_name;label\na.safetensors;"x, y"\n'.encode(),
    "UTF-16": 'file_name;label\na.safetensors;"x, y"\n'.encode("utf-16"),
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES.keys())
def test_tables_of_several_programs_are_read(content: bytes, tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "metadata.csv").write_bytes(content)
    assert labels(tmp_path) == {"a.safetensors": "x, y"}


def test_a_name_in_any_case_is_a_table(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "Metadata.CSV").write_text("file_name,label\na.safetensors,x\n")
    assert labels(tmp_path) == {"a.safetensors": "x"}


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "metadata.csv").write_text("file_name,label,label\na.safetensors,x,y\n")
    refuses(tmp_path, r"each column once in .*metadata\.csv; found label twice")


def test_a_delimiter_in_a_label_without_quotes_is_named(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", "b.safetensors")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.safetensors,x\nb.safetensors,x, y\n")
    refuses(tmp_path, r"2 values in row 2 of .*metadata\.csv; found 3; put values that hold")


def test_a_bad_adapter_needs_no_row(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors", "b.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"\0" * 40)
    (tmp_path / "metadata.csv").write_text("file_name,label\na.safetensors,x\n")
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert (zoo.names, [one.path for one in zoo.skipped]) == (["a.safetensors"], ["b.safetensors"])


def test_a_row_that_names_another_kind_of_file_says_so(tmp_path: Path) -> None:
    adapters(tmp_path, "a.safetensors")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.safetensors,x\na.png,x\n")
    refuses(tmp_path, r"/a\.png; found no adapter file")
