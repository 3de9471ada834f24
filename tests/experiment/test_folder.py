"""The output folder: one run at a time, nothing finished is lost to other settings, and nothing in it makes a run wait."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_perf.experiment import training
from lora_perf.experiment.__main__ import main
from lora_perf.experiment.folder import REPORT
from lora_perf.experiment.logs import log, log_file
from lora_perf.io import store
from lora_perf.io.claims import LOCK, claim
from lora_perf.zoos import synthetic
from tests.experiment.conftest import small_zoo

Run = Callable[..., int]
FAST = ["--representations", "stats", "--classifiers", "knn", "--controls", "--permutations", "3"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(small: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line on the small zoo with a single probe, without figures; returns its status."""
    monkeypatch.setattr("lora_perf.report.files.draw", lambda *_: [])

    def run(*arguments: str) -> int:
        return main(["--dataset", str(small), "--output-dir", str(out), *FAST, *arguments])

    return run


def about(folder: Path) -> tuple[list[str], bool]:
    """The groups and whether it was a short look, of the report in a folder."""
    config = json.loads((folder / "results.json").read_text())["config"]
    assert json.dumps(config["layer_groups"][0]) in (folder / "results.json").read_text()
    assert (folder / "summary.md").exists()
    assert (folder / "results.csv").exists()
    return config["layer_groups"], config["quick"]


def test_the_report_of_other_settings_is_kept_in_earlier(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--layer-groups", "all") == 0
    assert "is kept in" not in capsys.readouterr().out
    (out / "drop.svg").write_text("a figure goes with its report")
    first = {name: (out / name).read_bytes() for name in REPORT if (out / name).exists()}
    assert run("--layer-groups", "text") == 0
    (kept,) = (out / "earlier").iterdir()
    assert f"the report of other settings or data that stood there is kept in {kept}" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == first
    assert kept.name.startswith("small-")
    assert about(out) == (["text"], False)
    assert run("--layer-groups", "all") == 0
    assert about(out) == (["all"], False)
    assert sorted(about(one)[0][0] for one in (out / "earlier").iterdir()) == ["all", "text"]


def test_the_same_settings_replace_their_own_report(run: Run, out: Path, tmp_path: Path) -> None:
    run()
    before = (out / "results.json").stat().st_mtime_ns
    assert run("--no-resume", "--no-cache-features") == 0
    assert run("--cache-dir", str(tmp_path / "elsewhere")) == 0
    assert (out / "results.json").stat().st_mtime_ns != before
    assert not (out / "earlier").exists()


def test_the_report_of_other_data_is_kept(run: Run, out: Path, small: Path) -> None:
    run()
    store.write(small_zoo(changed=True), small)
    assert run() == 0
    assert len(list((out / "earlier").iterdir())) == 1


def test_a_short_look_leaves_the_report_and_the_cells_of_a_full_run(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = ["--classifiers", "mlp", "--num-runs", "3", "--epochs", "2", "--hidden-dim", "8", "--layer-groups", "all"]
    run(*full)
    before = {path: path.read_bytes() for path in (out / "results.json", *(out / "cells").iterdir())}
    capsys.readouterr()
    assert run(*full, "--quick") == 0
    assert "quick/summary.md, quick/report.html, quick/results.json" in capsys.readouterr().out
    assert about(out / "quick") == (["all"], True)
    assert about(out) == (["all"], False)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((out / "cells").iterdir())) == 2
    assert len(json.loads((out / "quick" / "results.json").read_text())["cells"][0]["runs"]) == 2


def test_a_short_look_at_first_writes_to_the_folder_and_is_kept_when_a_full_run_comes(run: Run, out: Path) -> None:
    assert run("--quick") == 0
    assert about(out)[1]
    assert run() == 0
    assert not about(out)[1]
    assert [about(one)[1] for one in (out / "earlier").iterdir()] == [True]
    assert not (out / "quick").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"config": 1, "dataset": {}}', b'{"config": {}, "dataset": {}}'])
def test_a_results_file_of_another_kind_is_kept_too(run: Run, out: Path, content: bytes) -> None:
    out.mkdir()
    (out / "results.json").write_bytes(content)
    assert run() == 0
    (kept,) = (out / "earlier").iterdir()
    assert (kept / "results.json").read_bytes() == content


def test_a_second_run_in_the_folder_is_refused_in_one_line_and_one_elsewhere_is_not(
    run: Run, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with claim(out):
        assert run() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"one run at a time that writes to {out}; found another one (process {os.getpid()} on " in line
        assert os.listdir(out) == [LOCK]
        assert run("--output-dir", str(tmp_path / "elsewhere"), "--cache-dir", str(out / "cache")) == 0
    assert run() == 0
    assert not (out / LOCK).exists()


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def make(kind: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/full")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            place = os.getcwd()
            os.chdir(path.parent)  # the name of a socket is short
            one.bind(path.name)
            os.chdir(place)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_what_stands_in_the_place_of_the_log_leaves_the_run_without_one(
    kind: str, run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(kind, out / "experiment.log")
    assert run() == 0
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith(f"WARNING: no log: {out / 'experiment.log'} cannot be written (")
    assert "predictions.csv\n" in told.out
    assert (out / "results.json").exists()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
@pytest.mark.parametrize("place", ["cells", "cache"])
def test_what_stands_in_the_place_of_a_cell_or_of_features_makes_nobody_wait(
    place: str, kind: str, run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    found = (out / "results.json").read_bytes()
    path = sorted((out / place).iterdir())[0]
    make(kind, path)
    capsys.readouterr()
    status = run() if place == "cells" else run("--no-resume")
    told = capsys.readouterr().err.splitlines()
    assert f"{path} is not used and made anew: found " in told[0]
    if kind == "folder":  # which cannot be replaced by a file
        assert status == 2
        assert told[1].startswith("error: expected a folder that can be written")
    else:
        assert (status, len(told)) == (0, 1)
        assert path.is_file()
    accuracies = [
        [cell["accuracy"] for cell in json.loads(text)["cells"]] for text in (found, (out / "results.json").read_bytes())
    ]
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_stands_in_the_place_of_the_results_makes_nobody_wait(
    kind: str, run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(kind, out / "results.json")
    if kind == "folder":
        assert run() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"a file or nothing at {out / 'results.json'}; found a folder" in line
        assert not (out / "cells").exists(), "it was told after the work"
    else:
        assert run("--layer-groups", "all") == 0
        assert about(out) == (["all"], False)


def test_damaged_cells_and_features_are_computed_anew_with_a_warning(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    first = json.loads((out / "results.json").read_text())
    for path in (*(out / "cells").iterdir(), *(out / "cache").iterdir()):
        flip(path, -20)
    capsys.readouterr()
    assert run() == 0
    told = capsys.readouterr().err
    assert told.count("is not used and made anew") == len(told.splitlines()) == 4  # copies among them
    again = json.loads((out / "results.json").read_text())
    for one, other in zip(first["cells"], again["cells"], strict=True):
        assert one["runs"][0]["predictions"] == other["runs"][0]["predictions"]


def test_a_flipped_bit_in_a_packed_file_is_one_line(
    run: Run, out: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(small, -5)
    assert run() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: expected an undamaged packed zoo at {small}; found content of fingerprint ")
    assert line.endswith("; pack the zoo again")
    assert not (out / "results.json").exists()


@pytest.mark.parametrize("place", [50_000, 30], ids=["rows", "header"])
def test_a_damaged_cache_of_a_data_set_is_left_alone_and_packed_anew(
    place: int, run: Run, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.write(synthetic.SyntheticConfig(tmp_path / "data", layout="tiny", adapters=60, classes=3, storage="parquet"))
    flags = ["--dataset", str(tmp_path / "data"), "--layer-groups", "all"]
    assert run(*flags) == 0
    first = json.loads((out / "results.json").read_text())
    assert run(*flags, "--preprocess-only") == 0
    (packed,) = (out / "cache").glob("zoo-*")
    flip(packed, place)
    capsys.readouterr()
    assert run(*flags) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING: {packed} is not used and made anew: found ")
    again = json.loads((out / "results.json").read_text())
    assert again["dataset"]["fingerprint"] == first["dataset"]["fingerprint"]
    assert again["cells"][0]["runs"] == first["cells"][0]["runs"]
    assert run(*flags, "--preprocess-only") == 0
    assert store.verify(packed) == first["dataset"]["fingerprint"]
    capsys.readouterr()
    assert run(*flags) == 0
    assert capsys.readouterr().err == ""


def test_what_dead_processes_left_is_removed(run: Run, out: Path) -> None:
    left = [out / ".results.json.0a1b2c3d.part", out / "cells" / ".x.json.0a1b2c3d.part", out / "cache" / ".y.0a1b2c3d.part"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert run() == 0
    assert not any(path.exists() for path in left)
    assert list(out.rglob(".*")) == []


def test_an_output_folder_that_is_deleted_meanwhile_is_made_again(run: Run, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = training.fitted

    def delete(*arguments: Any) -> Any:
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        out.rmdir()
        return fit(*arguments)

    monkeypatch.setattr(training, "fitted", delete)
    assert run("--layer-groups", "all") == 0
    assert about(out) == (["all"], False)
    assert len(list((out / "cells").iterdir())) == 1


def test_a_log_that_can_no_longer_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def write(self, _: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            pass

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with log_file(tmp_path) as logged:
        assert logged
        log.info("first")
        handler = logging.getLogger("lora_perf").handlers[-1]
        assert isinstance(handler, logging.StreamHandler)
        handler.stream.close()
        handler.stream = Full()
        log.info("second")
        log.info("third")
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING] == [
        f"{tmp_path / 'experiment.log'} cannot be written any further; the work goes on without it"
    ]
    assert (tmp_path / "experiment.log").read_text().endswith("INFO first\n")
