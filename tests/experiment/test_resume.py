"""Checkpoints and caches: what is taken again, and what never is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_perf.classifiers.perceptron import runs
from lora_perf.experiment import inputs
from lora_perf.io import store
from lora_perf.representations import REPRESENTATIONS
from tests.experiment.conftest import small_zoo

Experiment = Callable[..., dict[str, Any]]


def the_cell(out: Path, name: str) -> Path:
    """The one file of a cell."""
    (path,) = (out / "cells").glob(f"{name}.????????.json")
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the cells that are trained."""
    calls: list[int] = []
    train = runs.train

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return train(*arguments, **named)

    monkeypatch.setattr(runs, "train", counted)
    return calls


def test_finished_cells_are_not_trained_again(experiment: Experiment, trained: list[int]) -> None:
    first = experiment()
    assert len(trained) == 6
    second = experiment()
    assert len(trained) == 6
    assert first["cells"] == second["cells"]


def test_a_run_that_was_stopped_goes_on(experiment: Experiment, trained: list[int], tmp_path: Path) -> None:
    first = experiment()
    the_cell(tmp_path / "out", "flat_vec.visual.mlp").unlink()
    second = experiment()
    assert len(trained) == 7
    assert [run["accuracy"] for run in second["cells"][-1]["runs"]] == [run["accuracy"] for run in first["cells"][-1]["runs"]]


@pytest.mark.parametrize(
    "change",
    [["--lr", "0.01"], ["--seed", "7"], ["--num-runs", "3"], ["--hidden-dim", "8"], ["--split", "original"]],
    ids=" ".join,
)
def test_other_settings_never_take_old_cells(experiment: Experiment, trained: list[int], change: list[str]) -> None:
    experiment()
    experiment(*change)
    assert len(trained) == 12


def test_other_data_never_take_old_cells_nor_old_features(
    experiment: Experiment, trained: list[int], small: Path, tmp_path: Path
) -> None:
    experiment()
    cached = len(list((tmp_path / "out" / "cache").iterdir()))
    store.write(small_zoo(changed=True), small)  # one bit of one weight
    experiment()
    assert len(trained) == 12
    assert len(list((tmp_path / "out" / "cache").iterdir())) == 2 * cached


def test_other_code_never_takes_old_cells(experiment: Experiment, trained: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    experiment()
    monkeypatch.setattr("lora_perf.experiment.checkpoints.code_version", lambda: "another")
    experiment()
    assert len(trained) == 12


def test_cells_of_probes_do_not_depend_on_the_training_recipe(experiment: Experiment, tmp_path: Path) -> None:
    probes = ["--classifiers", "ridge", "knn", "--representations", "stats"]
    first = experiment(*probes)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    assert len(times) == 4
    second = experiment(*probes, "--lr", "0.01", "--num-runs", "1")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()} == times
    assert first["cells"] == second["cells"]
    experiment(*probes, "--seed", "7")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}.items() > times.items()
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 8, "those of another seed stand beside them"


def test_further_classifiers_leave_the_finished_cells_of_others(experiment: Experiment, trained: list[int]) -> None:
    first = experiment()
    second = experiment("--classifiers", "knn", "mlp")
    assert len(trained) == 6
    # The map goes with the strongest cell of all.
    kept = [cell | {"map": None} for cell in second["cells"] if cell["classifier"] == "mlp"]
    assert kept == [cell | {"map": None} for cell in first["cells"]]


def test_no_resume_trains_anew(experiment: Experiment, trained: list[int]) -> None:
    experiment()
    experiment("--no-resume")
    assert len(trained) == 12


def test_features_come_from_the_cache_where_cells_are_missing(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = experiment()
    for path in (tmp_path / "out" / "cells").iterdir():
        path.unlink()
    asked: list[list[str]] = []
    represent = inputs.represent
    monkeypatch.setattr(
        inputs,
        "represent",
        lambda zoo, names, **named: (asked.append(list(names)) if "progress" in named else 0) or represent(zoo, names, **named),
    )
    second = experiment()
    assert asked == [["flat_vec"]]  # the zoo itself, which is never cached
    assert [cell["accuracy"] for cell in first["cells"]] == [cell["accuracy"] for cell in second["cells"]]


@pytest.mark.usefixtures("own_registry")
def test_an_edited_function_of_a_user_never_takes_its_old_cells(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    calls, module = tmp_path / "calls", tmp_path / "users_nearest.py"
    text = f"""
import lora_perf
from sklearn.neighbors import NearestCentroid

@lora_perf.classifier("nearest", about="the nearest mean")
def nearest(seed):
    with open({str(calls)!r}, "a") as file:
        file.write("called ")
    return NearestCentroid(shrink_threshold=None)
"""
    flags = ["--import", str(module), "--classifiers", "nearest", "ridge", "--representations", "stats"]

    def asked(source: str) -> tuple[Any, int]:
        module.write_text(source)
        calls.write_text("")
        return [cell for cell in experiment(*flags)["cells"] if cell["classifier"] == "nearest"], len(calls.read_text().split())

    first, times = asked(text)
    assert times == 4  # two groups, two seeds
    assert [run["seed"] for run in first[0]["runs"]] == [42, 43]
    assert first[0]["interval_over"] == "seeds and test adapters"
    assert asked(text) == (first, 0)
    assert asked(text.replace("=None", "=0.5"))[1] == 4
    assert asked(text)[1] == 0, "the cells of both versions stand side by side"
    monkeypatch.delitem(sys.modules, module.stem)


def test_another_version_of_a_representation_never_takes_old_cells(
    experiment: Experiment, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment("--representations", "stats", "spectral")
    assert len(trained) == 4
    kind = type(REPRESENTATIONS["stats"])
    monkeypatch.setattr(kind, "version", property(lambda one: "edited" if one.name == "stats" else ""))
    experiment("--representations", "stats", "spectral")
    assert len(trained) == 6
