"""Row blocks on two worker processes: packed files, features and inspections are those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.distributed import row_blocks
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.inspect.__main__ import main as inspect
from lora_perf.io import packing
from lora_perf.io.__main__ import main as pack
from lora_perf.representations import content, elsewhere
from tests.conftest import MakeZoo
from tests.distributed.test_distributed import _children
from tests.io.test_pack import SOURCES

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks for a small zoo."""
    monkeypatch.setattr(packing, "_TASK_NBYTES", 100_000)
    monkeypatch.setattr(content, "_TASK_NBYTES", 100_000)
    monkeypatch.setattr(elsewhere, "TASK_NBYTES", 100_000)


def test_row_blocks_are_all_rows_once() -> None:
    assert [list(range(10))[rows] for rows in row_blocks(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert row_blocks(0, 4) == []


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_a_file_that_workers_wrote_is_that_of_one_process(
    data: Any, tmp_path: Path, source: Callable[[Any, Path], Any], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_TASK_NBYTES", 1)  # a task a row
    if source is SOURCES["an embedded zoo"]:
        monkeypatch.setattr(packing, "_TASK_NBYTES", 500_000)
    made = source(data, tmp_path)
    one = lora_perf.pack(made, tmp_path / "one.safetensors")
    several = lora_perf.pack(made, tmp_path / "several.safetensors", scheduler=address)
    assert several.read_bytes() == one.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_path_that_is_not_absolute_is_one_for_workers_too(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lora_perf.load("digits").save("digits.safetensors")
    lora_perf.pack("digits.safetensors", "again.safetensors", scheduler=address)
    assert Path("again.safetensors").read_bytes() == Path("digits.safetensors").read_bytes()


def test_features_of_workers_are_those_of_one_process_to_the_bit(address: str, random_zoo: MakeZoo) -> None:
    for zoo, names in ((lora_perf.load("digits"), ["ten", "dw"]), (random_zoo(2000), ["ten", "dw_spectrum"])):
        here = lora_perf.represent(zoo, names)
        seen: list[int] = []
        there = lora_perf.represent(zoo, names, scheduler=address, progress=seen.append)
        assert here.keys() == there.keys()
        assert sum(seen) == len(zoo)
        assert len(seen) > 1
        for name in here:
            assert torch.equal(here[name].values, there[name].values)
            assert here[name].names == there[name].names


def test_what_a_worker_finds_amiss_names_the_adapter(address: str, random_zoo: MakeZoo) -> None:
    rows = random_zoo(2000).rows.clone()
    rows[1700, 3] = torch.nan
    zoo = lora_perf.Zoo.from_rows(rows, random_zoo().layout)
    with pytest.raises(LoraPerfError, match=r"1700"):
        lora_perf.represent(zoo, ["stats"], scheduler=address)


def test_an_inspection_by_workers_is_that_of_one_process(address: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(2000)
    rows = zoo.rows.clone()
    rows[1700, 3], rows[5] = torch.nan, rows[1999]
    path = lora_perf.Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes).save(tmp_path / "zoo.safetensors")
    here, there = lora_perf.inspect.run(path), lora_perf.inspect.run(path, scheduler=address)
    assert len(here.problems) == 2
    assert replace(here, seconds={}) == replace(there, seconds={})


def test_a_damaged_file_is_found_by_workers(address: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    path = random_zoo(2000).save(tmp_path / "zoo.safetensors")
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\1")
    found = lora_perf.inspect.run(path, scheduler=address)
    assert "damaged" in [one.kind for one in found.problems]
    assert replace(lora_perf.inspect.run(path), seconds={}) == replace(found, seconds={})


def test_the_pass_of_an_experiment_is_shared_and_its_cells_read_the_cache(address: str, tmp_path: Path) -> None:
    options = ["--dataset", "digits", "--representations", "stats", "ensemble", "--classifiers", "ridge"]
    assert experiment([*options, "--output-dir", str(tmp_path), "--scheduler", address]) == 0
    assert {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()} >= {"stats", "spectral"}


def test_a_killed_worker_costs_its_rows_only(tmp_path: Path, random_zoo: MakeZoo) -> None:
    """Of a command in a process of its own: a worker is killed while it writes."""
    layout = random_zoo().layout
    path = lora_perf.Zoo.from_rows(torch.randn(2_000_000 // layout.p * 40, layout.p), layout).save(tmp_path / "a.safetensors")
    code = (
        "import sys; from lora_perf.io import packing; packing._TASK_NBYTES = 1 << 20;"
        "from lora_perf.io.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    target = tmp_path / "b.safetensors"
    command = [sys.executable, "-c", code, str(path), str(target), "--scheduler", "local:2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = False
    while running.poll() is None and not killed:
        workers = _children(running.pid)
        parts = [path.stat().st_blocks for path in tmp_path.glob(".b.*.part")]
        if len(workers) == 2 and parts and 512 * parts[0] > 10_000_000:  # some rows are there
            os.kill(workers[0], signal.SIGKILL)
            killed = True
        time.sleep(0.01)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert killed
    assert target.read_bytes() == path.read_bytes()


def test_an_interrupt_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import sys; from lora_perf.io import packing; packing._TASK_NBYTES = 1000;"
        "from lora_perf.io.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "digits", str(tmp_path / "b.safetensors"), "--scheduler", "local:2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while running.poll() is None and not list(tmp_path.glob(".b.*.part")):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_a_wrong_scheduler_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(["digits", str(tmp_path / "b.safetensors"), "--scheduler", "nowhere"]) == 2
    assert inspect(["digits", "--scheduler", "local:0"]) == 2
    assert capsys.readouterr().err.count("--scheduler local, local:N") == 2
    with pytest.raises(LoraPerfError, match="--scheduler local"):
        lora_perf.represent(lora_perf.load("digits"), ["stats"], scheduler="x")
