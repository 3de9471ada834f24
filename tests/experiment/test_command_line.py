"""The command line as a person meets it."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lora_perf import Zoo
from lora_perf.experiment import training
from lora_perf.experiment.__main__ import main
from lora_perf.io import store
from tests.experiment.conftest import PREFIX, QUICK, small_zoo

Experiment = Callable[..., dict[str, Any]]
SIDES = (("down", (1, 6)), ("up", (4, 1)))


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the terminal's error stream."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def only_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error, on the terminal's error stream and nothing else there."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: expected ")
    return lines[0]


def test_the_folder_holds_every_promised_file_and_results_say_what_they_depend_on(
    experiment: Experiment, tmp_path: Path
) -> None:
    results = experiment(figures=True)
    found = {path.name for path in (tmp_path / "out").iterdir()}
    files = {"results.json", "results.csv", "predictions.csv", "summary.md", "report.html", "experiment.log"}
    assert found == files | {"accuracy.svg", "accuracy.png", "drop.svg", "drop.png", "cells", "cache"}
    assert results["config"]["hidden_dim"] == 16
    # The version of the package: a build may call itself 2.13.0+cu130 where the index calls it 2.13.0.
    assert results["versions"]["torch"] == importlib.metadata.version("torch")
    assert results["machine"]["torch_threads"] == torch.get_num_threads()
    assert results["dataset"]["fingerprint"] == small_zoo().fingerprint
    assert {"load", "fingerprint", "represent", "train", "score"} <= set(results["seconds"])


def test_results_hold_metrics_curves_and_confusion_of_every_run(experiment: Experiment, tmp_path: Path) -> None:
    results = experiment()
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert float(rows[0]["accuracy"]) == results["cells"][0]["runs"][0]["accuracy"]
    assert [(cell["representation"], cell["group"], cell["classifier"]) for cell in results["cells"]] == [
        (name, group, "mlp") for name in ("stats", "ensemble", "flat_vec") for group in ("all", "visual")
    ]
    truth = results["test_labels"]
    for cell in results["cells"]:
        assert [run["seed"] for run in cell["runs"]] == [42, 43]
        for run in cell["runs"]:
            right = sum(guess == label for guess, label in zip(run["predictions"], truth, strict=True))
            assert run["accuracy"] == pytest.approx(right / len(truth))
            assert sum(map(sum, run["confusion"])) == len(truth)
            assert sum(run["confusion"][k][k] for k in range(3)) == right
            assert len(run["curves"]["validation_accuracy"]) == run["epochs"] == 3


def test_flags_take_underscores_as_the_original_wrote_them(small: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", str(small), "--num_runs", "1", "--output_dir", str(tmp_path / "out"), "--hidden_dim", "8"]
    assert main([*arguments, "--epochs", "1", "--representations", "stats", "--no-amp", "--no_cache_features"]) == 0


def test_a_single_group_needs_no_drop(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment("--layer-groups", "text", figures=True)
    assert not (tmp_path / "out" / "drop.svg").exists()
    assert "drop.svg" not in capsys.readouterr().out


def test_the_dry_run_prints_the_plan_and_writes_nothing(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", str(small), "--output-dir", str(tmp_path / "out"), *QUICK, "--dry-run"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "6 cells x 2 runs" in shown
    assert "of training" in shown
    assert not (tmp_path / "out").exists()


def test_preprocessing_packs_and_later_runs_map_the_packed_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "sanity_check_dataset", "--cache-dir", "cache", "--num-runs", "1", "--epochs", "1"]
    assert main([*flags, "--preprocess-only"]) == 0
    (packed,) = (tmp_path / "cache").glob("zoo-*.safetensors")
    assert packed.name in capsys.readouterr().out
    assert main([*flags, "--representations", "stats"]) == 0
    assert "stands in" not in capsys.readouterr().err  # the data set itself was not made again
    assert store.open_packed(packed).layout.p == 8576


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["--dataset", "nowhere"], "'nowhere', which is none"),
        (
            ["--representations", "statz"],
            r"rank_based.*dw_sketch.*dw_kernel.*a set of them \(ten, dw, learned\).*'statz'; choose",
        ),
        (["--layer-groups", "attn9"], r"attn2\.to_v.*'attn9'"),
        (["--representations", "dw", "--layer-groups", "up"], "both the up and the down"),
        (["--representations", "dw_kernel", "--layer-groups", "down"], "both an up and a down for dw_kernel"),
        (["--controls", "halves", "--layer-groups", "all"], "a second layer group"),
        (["--controls", "norm", "--layer-groups", "up"], "both the up and the down"),
        (["--num-runs", "0"], "--num-runs of at least 1"),
        (["--dropout", "1.5"], r"expected dropout \(--dropout\) at least 0 and less than 1; found 1.5; change dropout \(--dr"),
        (["--hidden-dim", "0"], r"expected hidden \(hidden_dim, --hidden-dim\) at least 1; found 0"),
        (["--sample-layers", "1", "--layer-groups", "attn2"], "a sampled layer in group attn2"),
        (["--split", "zoo"], "a zoo with a split of its own"),
        (["--device", "cuda"], "a CUDA GPU"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    small: Path, tmp_path: Path, arguments: list[str], telling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has the GPU whose absence is tested")
    assert main(["--dataset", str(small), "--output-dir", str(tmp_path / "out"), *arguments]) == 2
    assert re.search(telling, only_error(capsys))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--output-dir", "--cache-dir"])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    small: Path, tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    wanted = {"--output-dir": str(tmp_path / "out"), flag: str(tmp_path / "file" / "sub")}
    assert main(["--dataset", str(small), *(word for pair in wanted.items() for word in pair)]) == 2
    assert f"a folder that can be written at {wanted[flag]}" in only_error(capsys)


def test_a_class_with_a_single_adapter_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = small_zoo()
    labels = zoo.labels.clone().clamp(max=1)
    labels[17] = 2
    store.write(Zoo.from_rows(zoo.rows, zoo.layout, labels, ["a", "b", "lonely"]), tmp_path / "zoo.safetensors")
    assert main(["--dataset", str(tmp_path / "zoo.safetensors"), "--output-dir", str(tmp_path / "out")]) == 2
    assert "lonely" in only_error(capsys)


def test_a_weight_that_is_no_number_is_named_and_leaves_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = small_zoo()
    rows = zoo.rows.clone()
    rows[31, 13] = float("nan")
    store.write(Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes), tmp_path / "zoo.safetensors")
    assert main(["--dataset", str(tmp_path / "zoo.safetensors"), "--output-dir", str(tmp_path / "out"), *QUICK]) == 2
    message = only_error(capsys)
    assert "NaN in adapter 31" in message
    assert "attn1.to_q.lora.up.weight" in message
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_truncated_packed_file_is_named(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_bytes(small.read_bytes()[:-100])
    assert main(["--dataset", str(small), "--output-dir", str(tmp_path / "out")]) == 2
    assert "truncated" in only_error(capsys)


def test_bad_adapter_files_stop_the_run_or_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, scale in (("cat", 1.0), ("dog", 3.0)):
        for number in range(15):
            path = tmp_path / "zoo" / label / f"{number}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({f"{PREFIX}.attn1.to_q.lora.{side}.weight": scale * torch.rand(shape) for side, shape in SIDES}, path)
    path.write_bytes(path.read_bytes()[:-1])
    flags = ["--dataset", str(tmp_path / "zoo"), "--output-dir", str(tmp_path / "out"), "--representations", "stats"]
    assert main([*flags, "--classifiers", "knn"]) == 2
    assert "dog/14.safetensors" in only_error(capsys)
    assert main([*flags, "--classifiers", "knn", "--layer-groups", "all", "--skip-bad"]) == 0
    assert "1 adapter file left out that could not be used: dog/14.safetensors" in capsys.readouterr().out
    assert "1 adapter file left out" in (tmp_path / "out" / "summary.md").read_text()
    (skipped,) = json.loads((tmp_path / "out" / "results.json").read_text())["dataset"]["skipped"]
    assert skipped["path"] == "dog/14.safetensors"
    assert skipped["reason"]


def test_tiny_zoos_are_flagged_wherever_results_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "sanity_check_dataset", "--output-dir", "out", "--num-runs", "1", "--epochs", "1"]
    assert main([*flags, "--representations", "stats"]) == 0
    assert capsys.readouterr().out.count("on the same rows") >= 2
    assert "Warning" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_keeps_finished_cells_and_says_how_to_go_on(
    number: signal.Signals,
    word: str,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, train = tmp_path / "out", training.fitted
    flags = ["--dataset", str(small), "--output-dir", str(out), *QUICK]
    trained: list[int] = []

    def until_the_third(*arguments: Any) -> Any:
        trained.append(1)
        if len(trained) == 3:
            signal.raise_signal(number)
        return train(*arguments)

    monkeypatch.setattr(training, "fitted", until_the_third)
    assert main([*flags, "--epochs", "1"]) == 128 + number
    told = f"{word}; 2 finished cells of these settings and data are in {out / 'cells'}: the same command goes on from there"
    assert only_line(capsys) == told
    assert sorted(path.name for path in out.iterdir()) == ["cache", "cells", "experiment.log"]
    assert len(list((out / "cells").iterdir())) == 2
    assert main([*flags, "--epochs", "1"]) == 0
    assert len(trained) == 7, "the cell that was interrupted and the three after it"


def test_one_class_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = small_zoo()
    one = Zoo.from_rows(zoo.rows, zoo.layout, torch.zeros(60, dtype=torch.int64), ["loras", "unused"])
    store.write(one, tmp_path / "zoo.safetensors")
    for arguments in ([], ["--dry-run"], ["--classifiers", "ridge"]):
        assert main(["--dataset", str(tmp_path / "zoo.safetensors"), "--output-dir", str(tmp_path / "out"), *arguments]) == 2
        message = only_error(capsys)
        assert "at least two classes" in message
        assert "one class (loras) of all 60 adapters" in message
    assert not (tmp_path / "out").exists()


def test_classes_that_a_part_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo = small_zoo()
    split = torch.arange(60) // 20
    labels = torch.where(split == 2, 0, zoo.labels.clamp(max=1))  # the test rows are all of the first class
    own = Zoo.from_rows(zoo.rows, zoo.layout, labels, ["a", "b"], split=split)
    store.write(own, tmp_path / "zoo.safetensors")
    flags = ["--representations", "stats", "--layer-groups", "all", "--quick"]
    assert main(["--dataset", str(tmp_path / "zoo.safetensors"), "--output-dir", str(tmp_path / "out"), *flags]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "classes without a test adapter, so in no score: b" in shown.out
    assert "**Classes without a test adapter, so in no score: b.**" in (tmp_path / "out" / "summary.md").read_text()
    assert json.loads((tmp_path / "out" / "results.json").read_text())["dataset"]["untested"] == ["b"]
