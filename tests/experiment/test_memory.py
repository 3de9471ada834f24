"""Zoos larger than memory: packed into the cache folder once, represented and trained on under a limit of the system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.experiment import dataset, run
from lora_perf.experiment.__main__ import main
from lora_perf.io import checked
from lora_perf.zoos.synthetic import SyntheticConfig, write
from tests.limits import run_limited

_LIMIT = 900 << 20  # of which Python with torch and datasets takes some 450


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "nested"
    write(SyntheticConfig(path, adapters=40, layout="tiny", classes=2))
    return path


def _arguments(source: Path, output: Path, *more: str) -> list[str]:
    options = ["--representations", "flat_vec", "stats", "--num-runs", "1", "--epochs", "2", "--hidden-dim", "16", "--controls"]
    return ["--dataset", str(source), "--output-dir", str(output), *options, *more]


def test_a_zoo_that_does_not_fit_is_packed_once(
    nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(nested, tmp_path / "usual")) == 0
    assert "more than fits in memory" not in capsys.readouterr().out
    monkeypatch.setattr(dataset, "_SHARE", 0)
    assert main(_arguments(nested, tmp_path / "little")) == 0
    assert "packing 40 adapters" in capsys.readouterr().out
    assert main(_arguments(nested, tmp_path / "again", "--cache-dir", str(tmp_path / "little/cache"))) == 0
    assert "packing" not in capsys.readouterr().out
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("usual", "little", "again")]
    assert found[0]["dataset"] == found[1]["dataset"] == found[2]["dataset"]
    accuracies = [[run["accuracy"] for cell in one["cells"] for run in cell["runs"]] for one in found]
    assert accuracies[0] == accuracies[1] == accuracies[2]


def test_progress_hears_of_packing(nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_SHARE", 0)
    heard: list[tuple[str, int, int]] = []
    run(nested, representations=["flat_vec"], layer_groups=["all"], num_runs=1, epochs=1, hidden_dim=8, cache_dir=tmp_path,
        progress=lambda what, done, total: heard.append((what, done, total)))  # fmt: skip
    assert ("pack", 40, 40) in heard


def test_without_a_folder_one_line_says_what_is_missing(nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_SHARE", 0)
    with pytest.raises(LoraPerfError, match="a folder to pack them into"):
        run(nested, representations=["flat_vec"], num_runs=1, epochs=1)


def test_representations_of_one_pass_need_no_packing(nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_SHARE", 0)
    results = run(nested, representations=["stats", "ensemble"], num_runs=1, epochs=1, hidden_dim=8, cache_dir=tmp_path)
    assert {cell.representation for cell in results.cells} == {"stats", "ensemble", "norm"}
    assert not list(tmp_path.glob("zoo-*"))


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "_SHARE", 0)
    monkeypatch.setattr(checked, "disk_left", lambda path: 1000)
    assert main(_arguments(nested, tmp_path / "results")) == 2
    assert "of room on the disk" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_more_rows_than_memory_are_represented_and_trained_on(tmp_path: Path) -> None:
    """1.2 GB of rows, nested lists of 1.8 GB, with 0.9 GB: flat_vec of all layers and of half of them, a probe and PCA."""
    write(SyntheticConfig(tmp_path / "zoo", adapters=3000, classes=3))
    options = ["--representations", "flat_vec", "stats", "--num-runs", "1", "--epochs", "1", "--hidden-dim", "16", "--controls"]
    arguments = ["-m", "lora_perf.experiment", "--dataset", str(tmp_path / "zoo"), "--output-dir", str(tmp_path / "results")]
    done = run_limited([*arguments, *options], _LIMIT)
    assert done.returncode == 0, done.stderr
    assert "packing 3,000 adapters" in done.stdout
    cells = json.loads((tmp_path / "results" / "results.json").read_text())["cells"]
    assert len(cells) == 4
