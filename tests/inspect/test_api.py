"""The inspection as a function of Python, and what notebooks show of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.inspect import Inspection, inspection
from tests.inspect.collections import add, clean_folder, wide


def without_times(found: Inspection) -> dict[str, object]:
    return {name: value for name, value in found.to_json().items() if name not in ("seconds", "config")}


def test_a_zoo_is_inspected_as_its_packed_file_is_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    zoo = lora_perf.load("digits")
    some = Zoo.from_rows(zoo.rows[:40], zoo.layout, zoo.labels[:40], zoo.classes, name="zoo")  # type: ignore[index]
    lora_perf.pack(some, tmp_path / "zoo.safetensors")
    monkeypatch.chdir(tmp_path)
    found = lora_perf.inspect.run(some)
    assert without_times(found) == without_times(lora_perf.inspect.run("zoo.safetensors"))
    assert os.listdir(tmp_path) == ["zoo.safetensors"]
    assert capfd.readouterr() == ("", "")
    assert inspection is lora_perf.inspect.run


def test_a_zoo_without_labels_is_inspected_wholly() -> None:
    zoo = lora_perf.load("digits")
    rows = zoo.rows[:40].clone()
    rows[7] = rows[3]
    found = lora_perf.inspect.run(Zoo.from_rows(rows, zoo.layout))
    assert found.classes == {}
    assert [one.kind for one in found.findings] == ["identical"]
    (repeat,) = found.repeats
    assert repeat.same_class is None
    assert "adapter 7 = adapter 3" in repr(found)


def test_findings_are_lines_rows_and_a_page_in_which_names_mean_nothing(tmp_path: Path) -> None:
    clean_folder(tmp_path / "zoo")
    for i in range(5):
        (tmp_path / "zoo" / "cat" / f"<script>\x1b{i}.safetensors").write_bytes(b"")
    path = add(tmp_path / "zoo", 90, wide(0))
    found = lora_perf.inspect.run(tmp_path / "zoo")
    lines = repr(found).splitlines()
    assert lines[0] == "Inspection of zoo: 9 adapters of 4 modules"
    assert lines[1].strip() == "problems: unreadable, identical (6 adapters)"
    assert lines[-1].strip() == "and 3 more: see findings"
    assert len(lines) == 6
    table = found.to_frame()
    assert len(table) == len(found.findings) == 6
    assert table["problem"].all()
    assert table["adapters"].iloc[-1] == (path,)
    page = found._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;\\x1b0.safetensors: an empty file" in page
    assert "\x1b" not in page + repr(found)
    json.dumps(found.to_json())


def test_what_is_none_and_a_cosine_that_is_too_low_are_refused() -> None:
    with pytest.raises(LoraPerfError, match="'nowhere', which is none"):
        lora_perf.inspect.run("nowhere")
    with pytest.raises(LoraPerfError, match=r"--near of at least 0\.9 and below 1; found 0\.5"):
        lora_perf.inspect.run("digits", near=0.5)


def test_no_library_of_commands_is_imported(run_python: Callable[..., str]) -> None:
    heavy = ("tyro", "rich", "matplotlib", "sklearn", "pandas")
    code = f"import sys, lora_perf; lora_perf.inspect.run('digits'); print([one for one in {heavy} if one in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_adapters_of_one_name_are_counted_one_by_one() -> None:
    zoo = lora_perf.load("digits")
    twins = lora_perf.Zoo.from_rows(zoo.rows[:6], zoo.layout, [0, 1, 0, 1, 0, 1], ["a", "b"], names=["x"] * 6)
    found = lora_perf.inspect.run(twins)
    assert not found.problems
    assert "fewer than" not in repr(found)
