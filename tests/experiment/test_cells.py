"""Records of cells: what is no result of the cell that is asked for counts as absent, whoever wrote it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Fitted, Run, Setup, fitted
from lora_perf.core.split import make_split
from lora_perf.core.target import labels_of
from lora_perf.experiment.checkpoints import Checkpoints
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.divisions import Division
from lora_perf.io.checked import read_record, write_record
from lora_perf.report.cells import Asked, Cell, CellResult, cell_from_json, scored
from tests.experiment.conftest import small_zoo
from tests.io.packed.files import change

CONFIG = ExperimentConfig(num_runs=2)
ZOO = small_zoo()
SPLIT = make_split(ZOO.labels, ZOO.classes, ZOO.split, "auto", 42)
DIVISIONS = {"": Division(SPLIT, 42)}
TRUTH = ZOO.labels[SPLIT.test].numpy()
TEST = Asked("classes", ZOO.classes, TRUTH)
CELL = Cell("stats", "all")
LAYERS = ZOO.layout.layers


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, CONFIG, ZOO, labels_of(ZOO), DIVISIONS, torch.device("cpu"))


def result(cell: Cell = CELL) -> CellResult:
    """A result of two runs with different predictions."""
    runs = [Run(None, 0.5, seconds=0.1, setting={"alpha": 1.0})]
    if cell.classifier == "mlp":
        curves = {"train_loss": [1.0, float("nan")], "validation_accuracy": [0.5, 0.25]}
        runs = [Run(seed, 0.5, 1, 2, 0.1, curves) for seed in CONFIG.seeds]
    predictions = torch.from_numpy(np.stack([np.roll(TRUTH, k) for k in range(len(runs))]))
    return scored(cell, "abc", Fitted(predictions, tuple(runs), 3, torch.tensor([1])), TEST, 0.2, 0.5)


def constant(*seeds: int) -> CellResult:
    """The result of a perceptron whose features are all constant."""
    learnt = fitted(CLASSIFIERS["mlp"], Examples(torch.ones(len(ZOO), 2), SPLIT), ZOO.labels, 3, Setup(seeds))
    return scored(CELL, "ab", learnt, TEST, 0.0, None)


@pytest.mark.parametrize("cell", [CELL, Cell("stats", "all", "ridge"), Cell("stats", "all", "mlp", True)], ids=str)
def test_a_finished_cell_comes_back(cell: Cell, checkpoints: Checkpoints) -> None:
    assert checkpoints.load(cell, LAYERS) is None
    checkpoints.save(result(cell), LAYERS)
    found = checkpoints.load(cell, LAYERS)
    assert found is not None
    assert repr(found) == repr(result(cell))  # which are equal although NaN is not


def test_a_cell_of_constant_features_comes_back(checkpoints: Checkpoints) -> None:
    nothing = constant(*CONFIG.seeds)
    assert (nothing.note, nothing.constant) == ("no information: constant", ["a", "b"])
    checkpoints.save(nothing, LAYERS)
    assert checkpoints.load(CELL, LAYERS) == nothing


def test_cells_of_several_settings_stand_side_by_side(tmp_path: Path) -> None:
    two, three = (
        Checkpoints(tmp_path, ExperimentConfig(num_runs=runs), ZOO, labels_of(ZOO), DIVISIONS, torch.device("cpu"))
        for runs in (2, 3)
    )
    two.save(result(), LAYERS)
    assert three.load(CELL, LAYERS) is None
    other = constant(42, 43, 44)
    three.save(other, LAYERS)
    assert three.load(CELL, LAYERS) == other
    assert repr(two.load(CELL, LAYERS)) == repr(result())
    names = sorted(os.listdir(tmp_path))
    assert names == sorted(path.path(CELL, LAYERS).name for path in (two, three))
    assert all(name.startswith("stats.all.mlp.") and len(name) == len("stats.all.mlp.12345678.json") for name in names)


@pytest.mark.parametrize("group", ["a/b", "../../x", "a" * 300, "猫\x1b[31m", "a b\n"])
def test_the_name_of_a_group_is_no_path(group: str, checkpoints: Checkpoints, tmp_path: Path) -> None:
    cell = Cell("stats", group)
    checkpoints.save(result(cell), LAYERS)
    assert checkpoints.load(cell, LAYERS) is not None
    (name,) = os.listdir(tmp_path)
    assert name.isascii()
    assert " " not in name
    assert len(name) < 120


WRONG: list[tuple[tuple[Any, ...], Any]] = [
    (("runs",), []),
    (("runs",), None),
    (("runs",), "two"),
    (("runs", 1), ...),
    (("runs", 0, "seed"), 43),
    (("runs", 0, "seed"), None),
    (("runs", 0, "accuracy"), 0.5),
    (("runs", 0, "accuracy"), "1.0"),
    (("runs", 0, "accuracy"), float("nan")),
    (("runs", 0, "macro_f1"), 1.5),
    (("runs", 0, "macro_f1"), float("nan")),
    (("runs", 0, "macro_recall"), -0.5),
    (("runs", 0, "macro_precision"), None),
    (("runs", 0, "validation_accuracy"), float("inf")),
    (("runs", 0, "predictions"), []),
    (("runs", 0, "predictions", 0), ...),
    (("runs", 0, "predictions", 0), 3),
    (("runs", 0, "predictions", 0), -1),
    (("runs", 0, "predictions", 0), 1.0),
    (("runs", 0, "predictions", 0), True),
    (("runs", 0, "predictions", 0), "0"),
    (("runs", 0, "predictions"), {"a": 1}),
    (("runs", 0, "confusion"), [[1]]),
    (("runs", 0, "confusion", 0, 0), 99),
    (("runs", 0, "curves"), [1.0]),
    (("runs", 0, "curves", "train_loss"), 1.0),
    (("runs", 0, "curves", "train_loss", 0), "1"),
    (("runs", 0, "epochs"), -1),
    (("runs", 0, "best_epoch"), 1.5),
    (("runs", 0, "seconds"), None),
    (("runs", 0, "setting"), []),
    (("runs", 0, "epochs"), ...),
    (("representation",), "spectral"),
    (("group",), ["all"]),
    (("shuffled",), 0),
    (("features",), "three"),
    (("constant",), None),
    (("constant",), [1]),
    (("seconds",), float("nan")),
    (("milliseconds",), "0.5"),
    (("note",), None),
    (("note",), ...),
]


@pytest.mark.parametrize(("keys", "value"), WRONG, ids=str)
def test_a_record_that_is_no_result_of_the_cell_counts_as_none(
    keys: tuple[Any, ...], value: Any, checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    path, key = checkpoints.path(CELL, LAYERS), checkpoints.key(CELL, LAYERS)
    write_record(path, key, change(asdict(result()), keys, value))
    assert checkpoints.load(CELL, LAYERS) is None
    (told,) = caplog.records
    assert (told.levelno, str(path) in told.getMessage()) == (logging.WARNING, True)
    assert "no finished cell (" in told.getMessage()


def places(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*keys, key)
        yield from places(inner, (*keys, key))


@pytest.mark.parametrize("value", [None, True, -1, 10**30, float("nan"), "", "x", [], [[]], {}, {"a": {}}, ...], ids=repr)
def test_no_change_by_hand_makes_a_reader_crash(value: Any) -> None:
    record = asdict(result())
    for keys in places(record):
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # those that `Checkpoints.load` takes for no cell
            found = cell_from_json(change(record, keys, value), CELL, CONFIG.seeds, TEST)
            assert np.array_equal(found.gains(TEST), result().gains(TEST))


def test_a_change_by_hand_without_its_checksum_is_told(checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints.save(result(), LAYERS)
    path = checkpoints.path(CELL, LAYERS)
    assert read_record(path, checkpoints.key(CELL, LAYERS)) is not None
    path.write_text(path.read_text().replace('"validation_accuracy":0.5', '"validation_accuracy":0.6'))
    assert checkpoints.load(CELL, LAYERS) is None
    assert "its checksum differs" in caplog.text
