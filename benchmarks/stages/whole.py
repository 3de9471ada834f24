"""The package as a whole: its import, and the experiment on a small zoo."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

import lora_perf
from benchmarks import corpora
from benchmarks.table import Case, workload

_REPRESENTATIONS = ("stats", "ensemble")
_GROUPS = ("all", "visual")
_RUNS, _EPOCHS, _RATE, _HIDDEN = 2, 3, 0.01, 256  # a narrow net: training has workloads of its own
# Adapters of a class are one point and a little noise, so that three epochs at this rate read every class of every test
# adapter right from every cell below. Neither the check nor a count hangs on what a processor rounds.
_NOISE, _RIGHT = 0.3, 0.9


@workload("whole", "small", limit=True)
def import_package(scale: str) -> Case:
    """`import lora_perf` in a fresh interpreter, against importing torch alone; files in the page cache."""
    package = Path(lora_perf.__file__).parent
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The package under test, wherever this process found it, and not the folder where it was started (-P).
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def check(found: str) -> None:
        assert found == str(package / "__init__.py"), found

    return Case(
        call=lambda: run("import lora_perf; print(lora_perf.__file__)"),
        check=check,
        nbytes=sum(file.stat().st_size for file in package.rglob("*.py")),
        limit=lambda: run("import torch"),
    )


@cache
def _planted() -> tuple[lora_perf.Zoo, Path]:
    """A zoo of the layout, labels and split of `digits` with a signal that no classifier misses, and its packed file."""
    like = lora_perf.load("digits")
    rng = np.random.default_rng(5)
    centres = rng.uniform(-0.05, 0.05, (len(like.classes), like.layout.p))
    rows = centres[corpora.labels_of(like).numpy()] + rng.uniform(-0.05, 0.05, (len(like), like.layout.p)) * _NOISE
    values = torch.from_numpy(rows.astype(np.float32))
    zoo = lora_perf.Zoo.from_rows(values, like.layout, like.labels, like.classes, split=like.split)
    path = corpora.scratch() / "planted.safetensors"
    lora_perf.pack(zoo, path)
    return zoo, path


def _experiment(output: Path, representations: tuple[str, ...], *flags: str) -> Callable[[], Path]:
    """The command line on the planted zoo, called as a shell calls it; gives the file of its results."""
    from lora_perf.experiment.__main__ import main

    arguments = ["--dataset", str(_planted()[1]), "--num-runs", str(_RUNS), "--epochs", str(_EPOCHS), "--lr", str(_RATE)]
    arguments += ["--hidden-dim", str(_HIDDEN), "--device", "cpu", "--no-amp", *flags]  # counts of any processor
    arguments += ["--output-dir", str(output), "--representations", *representations, "--layer-groups", *_GROUPS]
    arguments += ["--controls"]  # none, as the trees before had it

    def call() -> Path:
        with contextlib.redirect_stdout(io.StringIO()):
            status = main(arguments)
        assert status == 0
        return output / "results.json"

    return call


@workload("whole", "small")
def experiment_small(scale: str) -> Case:
    """The command line on 1,000 small adapters: two representations, two layer groups, two runs of three epochs."""
    output = corpora.scratch() / "results"
    zoo = _planted()[0]
    return Case(
        call=_experiment(output, _REPRESENTATIONS, "--no-resume", "--no-cache-features"),
        check=lambda path: check_results(path, _REPRESENTATIONS),
        nbytes=zoo.nbytes,
        before=lambda: shutil.rmtree(output, ignore_errors=True),
        layers=len(zoo.layout),
        adapters=len(zoo),
    )


@workload("whole", "small")
def experiment_continued(scale: str) -> Case:
    """An experiment that goes on after an interruption: half of its cells are finished, all features are in the cache."""
    output, kept = corpora.scratch() / "continued", corpora.scratch() / "finished"
    representations = (*_REPRESENTATIONS, "pca")  # with one that is fitted, whose features are kept apart
    zoo = _planted()[0]
    call = _experiment(output, representations)
    call()
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(output / "cells", kept, ignore=lambda _, names: [name for name in names if f".{_GROUPS[0]}." not in name])

    def interrupt() -> None:
        (output / "results.json").unlink(missing_ok=True)
        shutil.rmtree(output / "cells", ignore_errors=True)
        shutil.copytree(kept, output / "cells")

    return Case(
        call=call,
        check=lambda path: check_results(path, representations),
        nbytes=zoo.nbytes,
        before=interrupt,
        layers=len(zoo.layout),
        adapters=len(zoo),
    )


def check_results(path: Path, representations: tuple[str, ...]) -> None:
    """All cells with all runs, each accuracy that of its predictions, and the planted classes found by each cell."""
    results = json.loads(path.read_text())
    truth = np.array(results["test_labels"])
    assert len(truth) == 200
    cells = {(cell["representation"], cell["group"]): cell for cell in results["cells"]}
    assert list(cells) == [(name, group) for name in representations for group in _GROUPS]
    assert len(results["cells"]) == len(cells)
    for cell in cells.values():
        runs = cell["runs"]
        assert [run["seed"] for run in runs] == [42, 43]
        for run in runs:
            assert run["epochs"] == _EPOCHS
            right = np.array(run["predictions"]) == truth
            np.testing.assert_allclose(run["accuracy"], right.mean(), rtol=1e-12)
        mean = float(np.mean([run["accuracy"] for run in runs]))
        np.testing.assert_allclose(cell["accuracy"]["mean"], mean, rtol=1e-12)
        assert mean > _RIGHT, "the planted signal was lost"
