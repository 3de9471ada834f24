"""What a dry run foretells, by a clock and classifiers that do not depend on the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_perf.classifiers import CLASSIFIERS, Fitted
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import FloatRows, RowSource
from lora_perf.core.zoo import Zoo
from lora_perf.experiment import forecast, room
from lora_perf.experiment.__main__ import main
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.forecast import Width, between
from lora_perf.experiment.plan import make_plan
from lora_perf.experiment.room import refuse_too_little, room_of
from lora_perf.experiment.runner import prepare
from lora_perf.zoos.synthetic import SyntheticConfig, layout_of
from tests.limits import run_limited

CPU = torch.device("cpu")


class Nowhere(RowSource):
    """Rows of a mission's size that nobody has: the first of them are noise, in order they are refused."""

    mapped = True

    def __init__(self, n: int, p: int) -> None:
        self.n, self.p = n, p

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        assert stop <= 1000, "a dry run reads a sample"
        out[:] = np.random.default_rng(start).standard_normal(out.shape, np.float32)


def mission(n: int) -> Zoo:
    """Adapters of the layout of Stable Diffusion 1.5, of ten classes."""
    layout = layout_of(SyntheticConfig(Path("x")))
    return Zoo(Nowhere(n, layout.p), layout, torch.arange(n) % 10, [f"class {i}" for i in range(10)])


class Clocked:
    """A classifier whose time is known: a second to start, then a share of one for each row, run and feature of an epoch."""

    seeded = by_epochs = True
    targets = ("classes",)
    about, version = "of known cost", ""

    def __init__(self, name: str) -> None:
        self.name, self.now, self.widest = name, 0.0, 0

    def refuse(self, n_train: int, features: int) -> None: ...

    def fit(self, examples, labels, n_classes, setup):
        f = examples.values.shape[1]
        self.widest = max(self.widest, f)
        self.now += 1 + setup.recipe.epochs * len(examples.split.train) * len(setup.seeds) * (5 + f) * 1e-6
        return Fitted(labels[examples.split.test][None], (), f, torch.arange(0))


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_time_is_that_of_all_cells_at_any_size(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked("clocked")
    monkeypatch.setitem(CLASSIFIERS._parts, "clocked", clocked)
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: clocked.now)
    zoo = mission(n)
    config = ExperimentConfig(
        representations=("stats", "flat_vec"), classifiers=("clocked",), num_runs=10, epochs=100, threads=2
    )
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        prepared = prepare(config, zoo)
        found = forecast.forecast(config, prepared.plan, zoo, prepared.divisions, CPU)
    finally:
        torch.set_num_threads(torch_threads)
    train = len(prepared.split.train)
    widths = [one.features or 0 for one in prepared.plan.cells]
    # All runs together take this long on the clock, which sees those of a round as one after the other.
    epoch = sum(train * 10 * (5 + f) * 1e-6 for f in widths)
    starts = len(widths) * 10 / 2
    assert found.train_at_most == pytest.approx(starts + 100 * epoch, rel=1e-3)
    assert found.train == pytest.approx(starts + (15 + 9) * epoch, rel=1e-3)
    assert found.longest[0] == "flat_vec"
    assert clocked.widest < 20_000, "no matrix as wide as flat_vec is made"


def test_each_further_draw_is_a_pass_of_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_seconds_per_adapter", lambda zoo, names, plan, device: 1e-3 * len(names))
    zoo = mission(1_000)
    config = ExperimentConfig(
        representations=("stats", "dw_sketch", "up_projector"), classifiers=("ridge", "knn"), controls=(), draws=5
    )
    prepared = prepare(config, zoo)
    found = forecast.forecast(config, prepared.plan, zoo, prepared.divisions, CPU)
    assert found.represent == pytest.approx(3 + 4 * 2)
    assert found.cost == pytest.approx(4 * 64 * 3e-3 * 2), "of each representation on two groups, once"


def test_time_between_widths_is_on_the_line_and_never_falls_beyond() -> None:
    known = [Width(100, 1.0, 2.0, 10), Width(200, 1.0, 4.0, 10), Width(400, 0.5, 3.0, 10)]
    assert between(known, 150) == (1.0, 3.0)
    assert between(known, 100) == (1.0, 2.0)
    assert between(known, 1000) == (1.0, 4.0), "noise of a clock is no gain"
    assert between(known[:1], 1000) == (1.0, 2.0)


def _room(n: int, config: ExperimentConfig) -> room.Room:
    zoo = mission(n)
    return room_of(config, make_plan(config, zoo.layout), zoo, CPU)


def test_memory_and_disk_are_arithmetic_of_the_sizes(tmp_path: Path) -> None:
    config = ExperimentConfig(representations=("stats", "flat_vec"), controls=(), output_dir=tmp_path, num_runs=1)
    found = _room(50_000, config)
    assert found.rows == 0
    assert found.caches == 4 * 50_000 * 128 * 7
    assert found.widest == "flat_vec"
    assert found.training >= 5 * 4 * 512 * 99_648
    assert _room(50_000, replace(config, num_runs=64)).training > found.training or torch.get_num_threads() == 1
    assert _room(50_000, replace(config, cache_features=False)).caches == 0
    both = _room(1_000, replace(config, representations=("ensemble",)))
    alone = _room(1_000, replace(config, representations=("stats",)))
    assert both.features > 2 * alone.features, "parts, and a copy of them"


def test_what_cannot_be_is_refused_with_the_flag_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExperimentConfig(representations=("stats", "flat_vec"), controls=(), output_dir=tmp_path / "out", num_runs=1)
    zoo = mission(50_000)
    plan = make_plan(config, zoo.layout)
    refuse_too_little(config, plan, zoo, CPU)
    monkeypatch.setattr(room, "disk_left", lambda path: 100 << 20)
    with pytest.raises(LoraPerfError, match=r"[0-9]+ MB of room .*105 MB left.*--no-cache-features"):
        refuse_too_little(config, plan, zoo, CPU)
    monkeypatch.setattr(room, "memory_left", lambda: 1 << 30)
    with pytest.raises(LoraPerfError, match=r"of memory for this experiment.*leave flat_vec out of --representations"):
        refuse_too_little(config, plan, zoo, CPU)


def test_a_run_that_cannot_be_writes_nothing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "disk_left", lambda path: 10)
    assert main(["--dataset", str(small), "--output-dir", str(tmp_path / "out"), "--representations", "stats"]) == 2
    assert "of room on the disk" in capsys.readouterr().err
    assert list(tmp_path.rglob("*.safetensors")) == [small]
    assert not list(tmp_path.rglob("results.json"))


_PROGRAM = """
import torch
from lora_perf.experiment import forecast, room, runner
from lora_perf.experiment.config import ExperimentConfig
from tests.experiment.test_forecast import CPU, mission
zoo = mission(100_000)
config = ExperimentConfig(num_runs=10)
prepared = runner.prepare(config, zoo)
found = forecast.forecast(config, prepared.plan, zoo, prepared.divisions, CPU)
print(found.train > 3600, room.room_of(config, prepared.plan, zoo, CPU).memory > 1 << 30)
"""


def test_a_dry_run_at_the_size_of_the_mission_needs_little_memory() -> None:
    """100,000 adapters, 40 GB of rows, ten representations, with 1 GB of memory."""
    done = run_limited(["-c", _PROGRAM], 1_000_000_000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]
