"""Tasks and cells on two worker processes of a Dask cluster: the same numbers, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.distributed import outcomes, refuse_scheduler, shared
from lora_perf.experiment.__main__ import main
from tests.distributed import work

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own
TWO = "local:2"


def test_a_worker_that_dies_costs_its_call_only(tmp_path: Path) -> None:
    calls = [(number, tmp_path) for number in range(6)]
    found = list(outcomes(TWO, work.square, calls, [str(number) for number, _ in calls]))
    assert sorted(found) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "died").exists()


def test_a_call_that_kills_every_worker_is_named() -> None:
    with pytest.raises(LoraPerfError, match="3 of them that died over rows 5 to 9"):
        list(outcomes(TWO, work.die, [(5,)], ["rows 5 to 9"]))


def test_what_a_call_refuses_is_told_as_here() -> None:
    with pytest.raises(LoraPerfError, match="expected an even number; found 7; choose another"):
        list(outcomes("local:1", work.refuse, [(7,)], ["seven"]))


def test_folders_and_code_that_are_not_shared_are_said(tmp_path: Path) -> None:
    with shared(tmp_path / "new") as agreed:
        (pid,) = outcomes("local:1", work.checked, [(agreed,)], ["a check"])
        assert pid != os.getpid()
        with pytest.raises(LoraPerfError, match="same lora_perf and libraries at each worker"):
            replace(agreed, code="of yesterday").check()
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(LoraPerfError, match=r"the folder .*new on the machine of each worker"):
        agreed.check()


@pytest.mark.parametrize("scheduler", ["local:0", "local:", "somewhere", "http://a:1", "local:-1", ":8786"])
def test_what_is_no_scheduler_is_refused(scheduler: str) -> None:
    with pytest.raises(LoraPerfError, match="--scheduler local"):
        refuse_scheduler(scheduler)


@pytest.mark.parametrize("scheduler", [None, "local", "local:3", "10.0.0.1:8786", "tcp://node7:8786"])
def test_what_is_one_is_not(scheduler: str | None) -> None:
    refuse_scheduler(scheduler)


def test_nobody_who_answers_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from lora_perf.distributed import tasks

    monkeypatch.setattr(tasks, "_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LoraPerfError, match="a Dask scheduler that answers at"):
        list(outcomes(f"127.0.0.1:{port}", work.refuse, [(1,)], ["one"]))


def _arguments(output: Path, *more: str) -> list[str]:
    options = ["--representations", "stats", "pca", "--classifiers", "mlp", "ridge", "--num-runs", "2", "--epochs", "2"]
    return ["--dataset", "digits", "--output-dir", str(output), *options, "--hidden-dim", "16", *more]


def _numbers(output: Path) -> list[dict[str, Any]]:
    found = json.loads((output / "results.json").read_text())["cells"]
    for cell in found:
        del cell["seconds"], cell["milliseconds"]
        for run in cell["runs"]:
            del run["seconds"]
    return found


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    output = tmp_path_factory.mktemp("serial")
    assert main(_arguments(output)) == 0
    return _numbers(output)


def test_cells_of_two_workers_are_those_of_one_process(serial: list[dict[str, Any]], tmp_path: Path) -> None:
    assert main(_arguments(tmp_path, "--scheduler", TWO)) == 0
    assert _numbers(tmp_path) == serial
    assert not list(tmp_path.glob(".shared*"))


def test_cells_of_shares_are_those_of_one_process(
    serial: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = [
        subprocess.Popen([sys.executable, "-m", "lora_perf.experiment", *_arguments(tmp_path, "--shard", f"{i}/2")])
        for i in (1, 2)
    ]
    assert [one.wait(300) for one in shares] == [0, 0]
    assert not (tmp_path / "results.json").exists()
    assert len(list((tmp_path / "cells").iterdir())) == len(serial)
    assert main(_arguments(tmp_path)) == 0
    assert f"{len(serial)} of {len(serial)} cells taken from earlier runs" in capsys.readouterr().out.replace("\n", " ")
    assert _numbers(tmp_path) == serial


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_what_is_no_share_is_refused(shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(tmp_path, "--shard", shard)) == 2
    assert "--shard i/N with i from 1 to N" in capsys.readouterr().err


def test_a_worker_that_is_killed_from_outside_costs_nothing(serial: list[dict[str, Any]], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lora_perf.experiment", *_arguments(tmp_path, "--scheduler", TWO)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = False
    while running.poll() is None and not killed:
        workers = _children(running.pid)
        if (tmp_path / "cells").exists() and any((tmp_path / "cells").iterdir()) and workers:
            os.kill(workers[-1], signal.SIGKILL)
            killed = True
        time.sleep(0.02)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert _numbers(tmp_path) == serial


def test_an_interrupt_leaves_no_process_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lora_perf.experiment", *_arguments(tmp_path, "--scheduler", TWO, "--epochs", "300")]
    command += ["--patience", "300", "--hidden-dim", "256"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(_children(running.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = _children(running.pid)
    time.sleep(2)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    assert "Traceback" not in told
    time.sleep(1)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "results.json").exists()


def _children(pid: int) -> list[int]:
    """The processes that compute for another one: its descendants that run a worker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return found


def test_importing_the_package_leaves_dask_alone() -> None:
    code = "import sys, lora_perf.experiment.__main__; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threads_are_those_of_the_caller(tmp_path: Path) -> None:
    with shared(tmp_path) as agreed:
        assert agreed.threads == torch.get_num_threads()
