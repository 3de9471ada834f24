"""The command line as a person meets it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.inspect import __main__ as command
from lora_perf.inspect.__main__ import main
from tests.inspect.collections import add, clean_folder, wide


def test_a_clean_folder_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(clean_folder(tmp_path))]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.rstrip().endswith("nothing wrong")
    for text in ("8 of 8 files", "diffusers 8", "cat 4, dog 4", "per adapter", "attn1.to_q"):
        assert text in shown.out


def test_problems_are_listed_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean_folder(tmp_path)
    for i in range(5):
        (tmp_path / "cat" / f"bad{i}.safetensors").write_bytes(b"")
    add(tmp_path, 90, wide(0))
    assert main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "cat/bad0.safetensors: an empty file" in shown
    assert "and 2 more" in shown
    assert "problems: unreadable, identical (6 adapters)" in shown


def test_the_files_hold_everything(tmp_path: Path) -> None:
    clean_folder(tmp_path / "zoo")
    path = add(tmp_path / "zoo", 90, wide(0))
    out = tmp_path / "out"
    assert main([str(tmp_path / "zoo"), "--output-dir", str(out), "--json", str(tmp_path / "deep" / "a.json")]) == 1
    assert sorted(one.name for one in out.iterdir()) == ["inspect.html", "inspect.json", "inspect.md"]
    found = json.loads((out / "inspect.json").read_text())
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == found
    assert [one["adapter"] for one in found["repeats"]] == [path]
    assert found["problems"][0]["adapters"] == [path]
    assert (out / "inspect.html").read_text().startswith("<!doctype html>")
    page = (out / "inspect.md").read_text()
    assert page.startswith("# Inspection of zoo\n\n**Problems: identical (1 adapter).**")
    (header,) = (line for line in page.splitlines() if line.startswith("| modules | in an adapter"))
    (row,) = (line for line in page.splitlines() if line.startswith("| attn1.to_q | 1 | 2 | 1 |"))
    assert header.replace("\\|", "").count("|") == row.count("|") == 8


def test_a_name_cannot_break_out_of_the_page_or_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean_folder(tmp_path / "zoo")
    (tmp_path / "zoo" / "cat" / "[red]a|b<script>\x1b[31m.safetensors").write_bytes(b"")
    assert main([str(tmp_path / "zoo"), "--output-dir", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().out
    assert "[red]a|b<script>" in shown
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown
    page = (tmp_path / "out" / "inspect.md").read_text()
    assert "\\[red\\]a\\|b&lt;script>" in page
    assert "\x1b" not in page


def test_a_name_that_is_no_text_is_spelled_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean_folder(tmp_path / "zoo")
    (tmp_path / "zoo" / "cat" / os.fsdecode(b"\xff.safetensors")).write_bytes(b"")
    assert main([str(tmp_path / "zoo"), "--output-dir", str(tmp_path / "out")]) == 1
    assert "\\udcff.safetensors" in capsys.readouterr().out


def test_nothing_is_written_where_one_of_the_files_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean_folder(tmp_path / "zoo")
    (tmp_path / "file").write_text("in the way")
    arguments = ["--output-dir", str(tmp_path / "out"), "--json", str(tmp_path / "file" / "a.json")]
    assert main([str(tmp_path / "zoo"), *arguments]) == 2
    assert "a folder that can be written" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["nowhere"], "'nowhere', which is none"),
        ([""], "'', which is none"),
        (["."], "without state.json"),
        (["digits", "--near", "0.5"], "--near of at least 0.9 and below 1"),
        (["digits", "--near", "nan"], "--near of at least 0.9"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], telling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert telling in line


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.survey, "run", interrupted)
    assert main(["digits"]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"


def test_a_packed_file_is_inspected_by_the_numbers_of_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = lora_perf.load("digits")
    rows = zoo.rows[:50].clone()
    rows[7] = rows[3]
    rows[9, 5] = torch.nan
    some = Zoo.from_rows(rows, zoo.layout, zoo.labels[:50], zoo.classes, split=(torch.arange(50) >= 5).long())
    lora_perf.pack(some, tmp_path / "zoo.safetensors")
    assert main([str(tmp_path / "zoo.safetensors")]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "adapter 7 = adapter 3" in shown
    assert "1 across parts of the split" in shown
    assert "adapter 9: 1 of" in shown


@pytest.mark.parametrize(("place", "status"), [(None, 1), (b"attn2", 2)], ids=["rows", "classes"])
def test_a_packed_file_is_checked_wholly(
    place: bytes | None, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = lora_perf.load("digits")
    lora_perf.pack(Zoo.from_rows(zoo.rows[:20], zoo.layout, zoo.labels[:20], zoo.classes), tmp_path / "zoo.safetensors")
    assert main([str(tmp_path / "zoo.safetensors")]) == 0
    content = bytearray((tmp_path / "zoo.safetensors").read_bytes())
    content[-1 if place is None else content.index(place)] ^= 1
    (tmp_path / "zoo.safetensors").write_bytes(content)
    capsys.readouterr()
    assert main([str(tmp_path / "zoo.safetensors")]) == status
    told = capsys.readouterr()
    if place is None:
        assert "content that is not what was packed" in told.out
        assert "problems: damaged" in told.out
    else:
        assert len(told.err.splitlines()) == 1


def test_a_layer_without_partner_is_told_of_a_whole_zoo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = lora_perf.load("digits")
    layout = lora_perf.core.zoo.Layout([(layer.name, layer.shape) for layer in zoo.layout.layers[:3]])
    some = Zoo.from_rows(zoo.rows[:20, : layout.p], layout, zoo.labels[:20], zoo.classes)
    lora_perf.pack(some, tmp_path / "zoo.safetensors")
    assert main([str(tmp_path / "zoo.safetensors")]) == 1
    assert "1 of 3 layers without partner in every adapter" in capsys.readouterr().out
