"""The experiment as a function of Python: the command's numbers, and nothing that was not asked for."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

import lora_perf
from lora_perf import LoraPerfError
from lora_perf.experiment import ExperimentConfig, training
from lora_perf.experiment.__main__ import main
from tests.experiment.conftest import QUICK, small_zoo

FAST: dict[str, Any] = {"controls": [], "representations": ["stats"], "layer_groups": ["all"], "classifiers": ["knn"]}
AS_QUICK: dict[str, Any] = {
    "num_runs": 2,
    "epochs": 3,
    "representations": ["stats", "ensemble", "flat_vec"],
    "hidden_dim": 16,
    "controls": [],
    "permutations": 3,
}


def numbers(found: Any) -> Any:
    """What is the same for the same data and settings: all but times, and where things stand."""
    times = {"seconds", "milliseconds", "config", "versions", "machine"}
    if isinstance(found, dict):
        return {name: numbers(value) for name, value in found.items() if name not in times}
    return [numbers(one) for one in found] if isinstance(found, list) else found


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_function_gives_the_numbers_of_the_command(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_perf.report.files.draw", lambda *_: [])
    controls = ["--classifiers", "mlp", "ridge", "--controls", "shuffled", "norm"]
    assert main(["--dataset", str(small), "--output-dir", str(tmp_path / "out"), *QUICK, *controls]) == 0
    command = json.loads((tmp_path / "out" / "results.json").read_text())
    for source in (small, str(small), lora_perf.load(small), small_zoo()):
        found = lora_perf.experiment.run(
            source, **AS_QUICK | {"classifiers": ["mlp", "ridge"], "controls": ["shuffled", "norm"]}
        ).to_json()
        assert numbers(json.loads(json.dumps(found))) == numbers(command)


def test_nothing_is_written_or_shown_that_was_not_asked_for(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    for source in ("digits", small, small_zoo()):
        lora_perf.experiment.run(source, **FAST | {"classifiers": ["mlp", "knn"]}, num_runs=1, epochs=1)
    assert files(tmp_path) == before
    assert capfd.readouterr() == ("", "")


def test_an_output_folder_holds_the_files_of_the_command_and_the_call_goes_on_from_it(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_perf.report.files.draw", lambda *_: [])
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert main(["--dataset", str(small), "--output-dir", str(theirs), *QUICK]) == 0
    first = lora_perf.experiment.run(small, **AS_QUICK, output_dir=ours)
    assert files(ours) == files(theirs)
    trained: list[int] = []
    monkeypatch.setattr(training, "fitted", lambda *_: trained.append(1))
    again = lora_perf.experiment.run(small_zoo(), **AS_QUICK, output_dir=str(ours))
    assert trained == []
    assert numbers(again.to_json()["cells"]) == numbers(first.to_json()["cells"])
    assert not (ours / "earlier").exists()
    assert "command: lora_perf.experiment.run" in (ours / "experiment.log").read_text()


def test_a_cache_alone_keeps_features_and_nothing_else(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lora_perf.experiment.run(small, **FAST, cache_dir="cache")
    copies, features = sorted((tmp_path / "cache").iterdir())
    assert (copies.suffix, features.suffix) == (".json", ".safetensors")
    assert files(tmp_path) == ["cache", f"cache/{copies.name}", f"cache/{features.name}", small.name]


def test_the_defaults_are_those_of_the_command() -> None:
    asked = {one.name: one.default for one in inspect.signature(lora_perf.experiment.run).parameters.values()}
    settings = {one.name: one.default for one in fields(ExperimentConfig)}
    of_commands = {"dataset", "preprocess_only", "dry_run", "shard", "trace"}
    assert settings.keys() - of_commands == asked.keys() - {"source", "progress"}
    settings["output_dir"] = None
    assert {name: asked[name] for name in settings if name not in of_commands} == {
        name: value for name, value in settings.items() if name not in of_commands
    }


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"representations": ["statz"]}, "found 'statz'; choose among these"),
        ({"representations": "users"}, r"found 'users'; import the module of your own ones \(--import\)"),
        ({"layer_groups": ["attn9"]}, "found 'attn9'"),
        ({"classifiers": ["svm"]}, "'svm'"),
        ({"controls": ["halved"]}, "one of auto, shuffled, rank, norm, halves for controls; found 'halved'; change controls"),
        ({"split": "random"}, "one of auto, zoo, stratified, original for split; found 'random'"),
        ({"device": "tpu"}, "one of auto, cpu, cuda for device; found 'tpu'"),
        ({"num_runs": "3"}, "a value of type int for num_runs; found '3'"),
        ({"num_runs": True}, "a value of type int for num_runs; found True"),
        ({"lr": None}, "a value of type float for lr; found None"),
        ({"sample_layers": 1.5}, "a value of type int or None for sample_layers; found 1.5"),
        ({"num_runs": 0}, "--num-runs of at least 1; found 0"),
        ({"representations": []}, "at least one name after --representations"),
        ({"representations": [3]}, "a value of type str for representations; found 3"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_known(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(LoraPerfError, match=told):
        lora_perf.experiment.run(small_zoo(), **FAST | settings)


def test_a_name_that_is_no_setting_and_a_source_that_is_none_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        lora_perf.experiment.run(small_zoo(), epoch=3)  # type: ignore[call-arg]
    with pytest.raises(LoraPerfError, match="'nowhere', which is none"):
        lora_perf.experiment.run("nowhere")


def test_a_single_name_may_stand_for_a_list_of_one() -> None:
    found = lora_perf.experiment.run(small_zoo(), representations="stats", layer_groups="all", classifiers="knn", controls=[])
    assert [cell.cell.name for cell in found.cells] == ["stats.all.knn"]


def test_an_interrupt_passes_on_with_finished_cells_saved_and_threads_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_perf.report.files.draw", lambda *_: [])
    settings: dict[str, Any] = {**AS_QUICK, "layer_groups": ["all"], "output_dir": tmp_path / "out"}
    threads, drawn, train, calls = torch.get_num_threads(), torch.random.get_rng_state(), training.fitted, []

    def stop(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(training, "fitted", stop)
    with pytest.raises(KeyboardInterrupt):
        lora_perf.experiment.run(small_zoo(), **settings)
    assert torch.get_num_threads() == threads
    found = lora_perf.experiment.run(small_zoo(), **settings)
    assert len(calls) == 4, "the cell that was interrupted and the one after it"
    assert len(found.cells) == 3
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert not (tmp_path / "out" / ".lock").exists()
    assert logging.getLogger("lora_perf").handlers == []


def test_progress_is_told_to_a_function_or_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, int, int]] = []
    lora_perf.experiment.run(small_zoo(), **FAST, progress=lambda *one: told.append(one))
    assert told[-2:] == [("represent", 60, 60), ("train", 1, 1)]
    assert capsys.readouterr().out == ""
    lora_perf.experiment.run(small_zoo(), **FAST, progress=True)
    assert "1/1 stats on all, knn: accuracy " in capsys.readouterr().out


def test_neither_commands_nor_figures_are_imported(run_python: Callable[..., str]) -> None:
    # rich itself may come with scikit-learn
    code = """
import sys, warnings, lora_perf
warnings.simplefilter("ignore")
lora_perf.experiment.run("digits", representations=["stats"], layer_groups=["all"], classifiers=["mlp", "knn"],
                         num_runs=1, epochs=1)
print([name for name in ("tyro", "matplotlib", "lora_perf.command.terminal") if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"
