"""Results as a Python user has them: read back, as data frames, as text, as figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lora_perf
from lora_perf import LoraPerfError, Results
from lora_perf.report.cells import Cell, CellResult, RunResult
from lora_perf.report.files import write_results
from lora_perf.report.predictions import write_predictions
from tests.report.test_report import results

REPORTS = Path(__file__).parents[2] / "reports"
CLASSES = 3
GROUPS = ["all", "visual"]


def found(*, n: int = 30, odd: str = "") -> Results:
    """Results with several runs, a probe, shuffled labels and halves, whose predictions and scores fit each other."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=n)

    def run(seed: int | None, right: float) -> RunResult:
        guess = np.where(rng.random(n) < right, truth, rng.integers(CLASSES, size=n))
        confusion = np.zeros((CLASSES, CLASSES), int)
        np.add.at(confusion, (truth, guess), 1)
        accuracy = float((guess == truth).mean())
        rest: dict[str, Any] = (
            {"curves": {"validation_accuracy": [0.1, 1 / 3]}} if seed else {"curves": {}, "setting": {"k": 3}}
        )
        return RunResult(
            **{"seed": seed, "accuracy": accuracy, "macro_f1": 1 / 3, "macro_precision": 0.1, "macro_recall": 0.2},
            **{"validation_accuracy": 0.5, "best_epoch": 1, "epochs": 2, "seconds": 0.1, "confusion": confusion.tolist()},
            predictions=guess.tolist(),
            **rest,
        )

    cells = [
        CellResult("stats", group, classifier, shuffled, 12, ["x"], 1 / 7, None if shuffled else 0.3, "", runs)
        for group in (*GROUPS, "half0")
        for classifier, seeds in (("mlp", (42, 43, 44)), ("knn", (None,)))
        for shuffled in ((False, True) if group == "all" else (False,))
        for runs in [[run(seed, 0.1 if shuffled else 0.8) for seed in seeds]]
    ]
    told = results(GROUPS, cells, ("half0",))
    told.dataset.update(name=f"toy{odd}", classes=["a", f"=b{odd}", "c"], test=n)
    names = [f"cats/{place}{odd}.safetensors" for place in range(n)]
    rows = [*range(100, 100 + n)]
    return Results(
        told.config, told.dataset, told.versions, told.machine, told.seconds, truth, cells, GROUPS, told.halves, rows, names
    )


def test_results_that_are_read_are_those_that_were_written(tmp_path: Path) -> None:
    before = found(odd="\u732b\udce9")
    write_results(before, tmp_path)
    for place in (tmp_path, tmp_path / "results.json", str(tmp_path)):
        after = Results.load(place)
        assert after.to_json() == before.to_json()
        assert (list(after.groups), after.cells) == (before.groups, before.cells)


@pytest.mark.parametrize("name", ["2026-11-22-digits", "2026-11-22-representations/digits"])
def test_records_of_before_are_read(name: str) -> None:
    stored = json.loads((REPORTS / name / "results.json").read_text())
    read = Results.load(REPORTS / name)
    assert read.chance == stored["chance"]
    for cell, record in zip(read.cells, stored["cells"], strict=True):
        assert [run.predictions for run in cell.runs] == [run["predictions"] for run in record["runs"]]
    assert read.predictions.to_frame()["adapter"].iloc[0] == "test adapter 0"
    assert repr(read).startswith("Results of digits: ")


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    record = json.loads(json.dumps(found().to_json()))
    change(record)
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"", "text that is no JSON, or ends too early"),
        (edited(lambda _: None)[:-40], "text that is no JSON, or ends too early"),
        (b"[]", "list indices must be integers"),
        (b"{}", "no dataset"),
        (b'{"cells": 3, "dataset": {"name": "a"}}', "no classes"),
        (edited(lambda one: one.pop("test_labels")), "no test_labels"),
        (edited(lambda one: one["test_labels"].pop()), "labels of other test adapters"),
        (edited(lambda one: one["test_labels"].__setitem__(0, 7)), "labels of no class"),
        (edited(lambda one: one["test_adapters"].pop()), "names of other test adapters"),
        (edited(lambda one: one["cells"].clear()), "no cells"),
        (edited(lambda one: one["cells"][1]["runs"].clear()), "a cell without runs"),
        (edited(lambda one: one["cells"][1]["runs"][0]["predictions"].pop()), "predictions of other adapters"),
        (edited(lambda one: one["cells"][0]["runs"][0].update(accuracy=0.999)), "the accuracy of other predictions"),
        (edited(lambda one: one["cells"][0].update(group=3)), "a cell without a name"),
        (edited(lambda one: one["dataset"].update(adapters="many")), "no sizes of the data set"),
        (edited(lambda one: one["dataset"].update(classes=["a", "a", "c"])), "classes without names of their own"),
        (edited(lambda one: one["dataset"].update(classes=["a", None, "c"])), "classes without names of their own"),
        (edited(lambda one: one["dataset"].update(skipped=True)), "no word on classes or files"),
        (edited(lambda one: one["dataset"].update(repeated={"test": "x"})), "no word on repeated adapters"),
        (edited(lambda one: one["config"].pop("num_runs")), "no num_runs"),
        (edited(lambda one: one["config"].update(num_runs="x")), "no number of runs"),
        (edited(lambda one: one["seconds"].update(load=None)), "stages without seconds"),
        (edited(lambda one: one["test_rows"].__setitem__(0, 2**80)), "test rows that are not there"),
        (edited(lambda one: one["cells"].append(one["cells"][0])), "a cell twice"),
        (edited(lambda one: one["cells"][0]["runs"][0].update(seed={})), "runs without seeds"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_error(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(LoraPerfError, match=told) as raised:
        Results.load(tmp_path)
    assert f"the results.json of an experiment at {tmp_path / 'results.json'}; found " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_that_cannot_be_is_one_clear_error() -> None:
    with pytest.raises(LoraPerfError, match="embedded null byte"):
        Results.load("a\0b")


def test_a_frame_has_a_row_for_each_run_cell_or_prediction() -> None:
    told = found()
    runs, cells, predictions = (told.to_frame(of) for of in ("runs", "cells", "predictions"))  # type: ignore[arg-type]
    assert len(runs) == sum(len(cell.runs) for cell in told.cells)
    assert len(cells) == len(told.cells)
    assert len(predictions) == len(runs) * 30
    by_hand = predictions.assign(right=predictions["prediction"].astype(str) == predictions["truth"].astype(str))
    keys = ["representation", "group", "classifier", "shuffled"]
    accuracies = by_hand.groupby(keys)["right"].mean()
    for row in cells.itertuples():
        assert row.accuracy == pytest.approx(accuracies[row.representation, row.group, row.classifier, row.shuffled])
        assert row.accuracy_low <= row.accuracy <= row.accuracy_high
    (compared,) = cells[(cells["group"] == "visual") & (cells["classifier"] == "mlp")].itertuples()
    drop = told.drop("stats", "visual", "mlp")
    assert drop is not None
    assert (compared.drop, compared.drop_p) == (drop.mean, drop.p)
    assert runs["seed"].isna().sum() == 4
    with pytest.raises(LoraPerfError, match="a frame of cells, runs, predictions; found 'rows'"):
        told.to_frame("rows")  # type: ignore[arg-type]


def test_predictions_name_the_adapters_that_were_misread(tmp_path: Path) -> None:
    told = found()
    write_predictions(told.predictions, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions.csv").read_text(), newline="")))
    assert [(row["adapter"], row["row"], row["part"]) for row in rows[:2]] == [
        ("cats/0.safetensors", "100", "test"),
        ("cats/1.safetensors", "101", "test"),
    ]
    names = ["a", "'=b", "c"]
    assert [row["truth"] for row in rows] == [names[label] for label in told.truth]
    (probe,) = told.predictions.cells[Cell("stats", "all", "knn")]
    assert [row["stats.all.knn"] for row in rows] == [names[guess] for guess in probe]
    assert "stats.all.knn right of 1" not in rows[0]
    runs = told.predictions.cells[Cell("stats", "visual", "mlp")]
    for row, guesses, truth in zip(rows, runs.T.tolist(), told.truth.tolist(), strict=True):
        assert row["stats.visual.mlp"] == names[max(sorted(set(guesses)), key=guesses.count)]
        assert row["stats.visual.mlp right of 3"] == str(guesses.count(truth))
    assert {"stats.half0.mlp", "stats.all.mlp.shuffled"} <= rows[0].keys()


def test_adapters_that_every_run_misreads_are_told() -> None:
    told = found()
    for cell in told.cells:
        for run in cell.runs:
            run.predictions[7] = (int(told.truth[7]) + 1) % CLASSES
            run.predictions[8] = int(told.truth[8])
    assert "cats/7.safetensors" in repr(told.predictions)
    assert "cats/8.safetensors" not in repr(told.predictions)


def test_the_table_is_text_and_html_in_which_names_mean_nothing() -> None:
    told = found(odd="<script>[red]\x1b[31m")
    text, page = str(told.table()), told._repr_html_()
    assert "toy<script>[red]\\x1b[31m" in text
    assert "\x1b" not in text
    assert "<script>" not in page
    assert "toy&lt;script&gt;[red]" in page
    lines = text.splitlines()
    assert lines[1].split()[:2] == ["representation", "classifier"]
    assert len({len(line) for line in lines[3:]}) == 1


def test_the_repr_tells_the_best_cells_in_a_few_lines() -> None:
    lines = repr(found()).splitlines()
    assert lines[0].startswith("Results of toy: 8 cells, 30 of 200 adapters tested, chance 0.")
    assert 3 <= len(lines) <= 5
    best = max(one.accuracy for one in found().to_frame()[lambda table: ~table["shuffled"]].itertuples())
    assert f": {best:.3f} [" in lines[1]


def test_figures_are_drawn_without_pyplot_and_shown_by_notebooks() -> None:
    figure = found().plot("drop")
    assert figure.axes[0].get_title()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    with pytest.raises(LoraPerfError, match=r"a figure of these results \(accuracy, drop\); found 'pie'"):
        found().plot("pie")  # type: ignore[arg-type]
    single = results(["all"], [cell for cell in found().cells if cell.group == "all"])
    with pytest.raises(LoraPerfError, match="a drop needs several layer groups"):
        single.plot("drop")


def test_results_are_lifted() -> None:
    assert lora_perf.Results is Results
