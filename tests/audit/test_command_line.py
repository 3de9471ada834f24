"""The command line as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from lora_perf import Zoo
from lora_perf.audit import GAUGES
from lora_perf.audit import __main__ as command
from lora_perf.audit.__main__ import main
from lora_perf.io import store
from tests.audit.zoos import random_zoo
from tests.representations.learned.updates import planted


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    path = tmp_path / "planted.safetensors"
    store.write(planted(60, rank=2), path)
    return str(path)


def test_the_report_holds_what_the_terminal_shows(zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = ["--representations", "stats", "dw_norms", "pca", "dw_kernel", "--classifiers", "ridge", "knn"]
    assert main([zoo, *asked, "--output-dir", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json", "audit.md", "audit.svg"]
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    said = "still (below 0.0001): dw_norms, dw_kernel; moving: stats, pca"
    assert said in shown.out
    page = (out / "audit.md").read_text()
    assert page.startswith("# Gauge audit of zoo\n")
    assert f"**S{said[1:]}.**" in page
    found = json.loads((out / "audit.json").read_text())
    assert list(found["gauges"]) == list(GAUGES)
    assert [one["name"] for one in found["representations"]] == asked[1:5]
    for one in found["representations"]:
        assert [reading["classifier"] for reading in one["readings"]] == ["ridge", "knn"]
        for reading in one["readings"]:
            original = f"{reading['original']['mean']:.3f}"
            for gauge in GAUGES:
                drop = f"{reading['drop'][gauge]['mean']:+.3f}"
                (row,) = [
                    line
                    for line in page.splitlines()
                    if line.startswith(f"| {one['name']} | {reading['classifier']} | {gauge} ")
                ]
                assert f"| {original} |" in row
                assert f"| {drop} |" in row
                assert f"{drop} [" in shown.out
    texts = (out / "audit.svg").read_text()
    ElementTree.fromstring(texts)
    assert all(f"<!-- {name} -->" in texts for name in (*asked[1:5], *GAUGES))


def test_a_tiny_zoo_is_reported_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(planted(9), tmp_path / "tiny.safetensors")
    asked = ["--representations", "dw_norms", "--output-dir", str(tmp_path / "out")]
    assert main([str(tmp_path / "tiny.safetensors"), *asked]) == 0
    assert "too few adapters to divide" in capsys.readouterr().out
    assert "**Warning: too few adapters to divide" in (tmp_path / "out" / "audit.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["--representations", "statz"], "found 'statz'; choose among these"),
        (["--layers", "attn9"], "found 'attn9'"),
        (["--layers", "up", "--representations", "dw_norms"], "the up and the down"),
        (["--representations"], "at least one name after --representations"),
        (["--classifiers"], "at least one name after --classifiers"),
        (["--num-runs", "0"], "--num-runs of at least 1; found 0"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], telling: str, zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([zoo, *arguments, "--output-dir", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: expected ")
    assert telling in line
    assert not out.exists() or list(out.iterdir()) == []


def test_one_class_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = planted(60, rank=2)
    zoo = Zoo.from_rows(zoo.rows, zoo.layout, torch.zeros(60, dtype=torch.int64), ["loras"])
    store.write(zoo, tmp_path / "one.safetensors")
    assert main([str(tmp_path / "one.safetensors"), "--output-dir", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected at least two classes" in line
    assert "one class (loras)" in line


def test_a_data_set_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere", "--output-dir", str(tmp_path / "out")]) == 2
    assert "'nowhere', which is none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_adapters_of_different_ranks_ask_for_representations_of_the_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(random_zoo(mixed=True), tmp_path / "mixed.safetensors")
    asked = [str(tmp_path / "mixed.safetensors"), "--output-dir", str(tmp_path / "out"), "--representations"]
    assert main([*asked, "ten"]) == 2
    assert "dw_projector, dw_kernel, which see updates dW" in capsys.readouterr().err
    assert main([*asked, "dw", "dw_kernel"]) == 0


def test_a_folder_that_cannot_be_written_is_seen_before_any_work(
    zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main([zoo, "--output-dir", str(tmp_path / "file" / "out")]) == 2
    shown = capsys.readouterr()
    assert "that can be written" in shown.err
    assert shown.out == ""


def test_an_interrupt_writes_nothing_and_is_status_130(
    zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "audit", stop)
    assert main([zoo, "--output-dir", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_written_where_the_numbers_cannot_be(zoo: str, tmp_path: Path) -> None:
    (tmp_path / "out" / "audit.json").mkdir(parents=True)
    assert main([zoo, "--representations", "dw_norms", "--output-dir", str(tmp_path / "out")]) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["audit.json"]


def test_a_figure_that_fails_loses_nothing_else(zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "audit.svg").mkdir(parents=True)
    assert main([zoo, "--representations", "dw_norms", "--output-dir", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("WARNING: no figure ")
    assert "out/audit.svg: expected a folder that can be written" in line
    assert shown.out.rstrip().endswith(": audit.md, audit.html, audit.json")
    assert "audit.svg" not in (tmp_path / "out" / "audit.md").read_text()
