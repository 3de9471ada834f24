"""Programs under watch: faults are found at their lines and by their kinds, and nothing is said of well-written ones."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.diagnose import Watched, watch_program
from lora_perf.diagnose.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, which warns of lists of arrays itself

PROGRAMS = Path(__file__).parent / "programs"
MODULES = ("programs_data", "helper_slow")  # which programs import
NAMES = sorted({path.stem for path in PROGRAMS.glob("*.py")} - {*MODULES})
FAULTY = sorted(name for name in NAMES if f"{name}_mended" in NAMES)
CLEAN = sorted({*NAMES} - {*FAULTY})


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Modules of the programs are imported by each of them."""
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@cache
def ran(name: str) -> tuple[Watched, str]:
    """What watching a program found, and what it printed; the files that it leaves are removed."""
    for one in MODULES:
        sys.modules.pop(one, None)
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(tempfile, "tempdir", folder)
        found = watch_program(PROGRAMS / f"{name}.py")
    return found, said.getvalue()


def faults(name: str) -> set[tuple[str, int, str]]:
    """The lines that are marked as faults, in a program and the module that it imports, with their kinds."""
    names = [name, "helper_slow"] if name == "imported_module" else [name]
    marks = [
        (f"{one}.py", number, re.search(r"# FAULT (.*)", line))
        for one in names
        for number, line in enumerate((PROGRAMS / f"{one}.py").read_text().splitlines(), 1)
    ]
    return {(file, number, mark[1]) for file, number, mark in marks if mark}


def test_there_are_enough_programs() -> None:
    assert len(FAULTY) >= 29
    assert len(CLEAN) >= 42
    assert all(faults(name) for name in FAULTY)
    assert not any(faults(name) for name in CLEAN)


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_at_its_line_and_nothing_else(name: str) -> None:
    found, _ = ran(name)
    assert found.status == 0
    assert {(Path(one.file).name, one.line, one.kind) for one in found.lines} == faults(name)
    assert all(one.advice.says and one.advice.instead and one.advice.source.startswith("https://") for one in found.lines)


@pytest.mark.parametrize("name", CLEAN)
def test_of_a_well_written_program_nothing_is_said(name: str) -> None:
    found, said = ran(name)
    assert found.status == 0
    assert said
    assert found.lines == ()


@pytest.mark.parametrize("name", FAULTY)
def test_the_mended_program_comes_to_the_same_result(name: str) -> None:
    assert ran(name)[1] == ran(f"{name}_mended")[1]


@pytest.mark.parametrize("name", ["published_cure", "six_hours_sliced", "row_loop", "pandas_rows"])
def test_values_and_bytes_are_those_of_the_data_without_the_offsets_of_its_lists(name: str) -> None:
    (line,) = ran(name)[0].lines
    labels = 0 if name in ("published_cure", "six_hours_sliced") else 200
    assert (line.values, line.nbytes) == (200 * 4 * 40 + labels, 8 * (200 * 4 * 40 + labels))  # of float64, as Python's are


def test_every_kind_of_advice_is_one_of_a_program() -> None:
    from lora_perf.diagnose.watching.findings import ADVICE

    assert {kind for name in FAULTY for _, _, kind in faults(name)} == ADVICE.keys() - {"waits for the GPU"}


def test_what_was_wrapped_is_as_before() -> None:
    before = torch.tensor, torch.Tensor.item, np.array, torch.Tensor.__dict__.get("item"), sys.meta_path[:]
    with lora_perf.diagnose.watch(quiet=True):
        assert torch.tensor is not before[0]
    assert (torch.tensor, torch.Tensor.item, np.array, torch.Tensor.__dict__.get("item"), sys.meta_path) == before


def test_a_block_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    with lora_perf.diagnose.watch("a cell") as seen:
        torch.tensor([[0.5] * 200] * 100)
    (line,) = seen.lines
    assert (line.kind, line.values, Path(line.file).name) == ("list to tensor", 20_000, Path(__file__).name)
    assert "list to tensor: 1 calls, 20,000 values" in capsys.readouterr().out


def test_a_block_that_raises_is_told_and_raises() -> None:
    def block() -> None:
        with lora_perf.diagnose.watch() as seen:
            kept.append(seen)
            torch.tensor([0.5] * 20_000)
            raise ZeroDivisionError

    kept: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        block()
    assert len(kept[0].lines) == 1


def test_blocks_in_each_other_and_overlapping_ones_tell_each_its_own_and_leave_all_as_it_was() -> None:
    def make() -> None:
        torch.tensor([0.5] * 20_000)

    before = torch.tensor, np.array, torch.Tensor.__dict__.get("item")
    first, second = (lora_perf.diagnose.watch(quiet=True) for _ in range(2))
    with lora_perf.diagnose.watch(quiet=True) as around:
        one = first.__enter__()
        make()
        two = second.__enter__()
        make()
        first.__exit__(None, None, None)
        make()
        second.__exit__(None, None, None)
        make()
    assert [[line.calls for line in seen.lines] for seen in (around, one, two)] == [[4], [2], [2]]
    assert (torch.tensor, np.array, torch.Tensor.__dict__.get("item")) == before


def written(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no such data')", 1, "no such data\n"),
        ("raise SystemExit", 0, ""),
        ("def f():\n    return 1 / 0\n\nf()", 1, "ZeroDivisionError: division by zero\n"),
        ("def f(:\n", 1, "SyntaxError"),
    ],
)
def test_status_and_exceptions_are_the_programs_own(
    text: str, status: int, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch_program(written(tmp_path, text)).status == status
    said = capsys.readouterr().err
    assert error in said
    assert "lora_perf" not in said


def test_a_program_sees_what_it_always_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "import sys\nprint(__name__, sys.argv[1:], __file__ == sys.argv[0], sys.modules['__main__'].__dict__ is globals())\n"
    before = sys.argv, sys.modules["__main__"]
    assert watch_program(written(tmp_path, text), ["a", "--b"]).status == 0
    assert capsys.readouterr().out == "__main__ ['a', '--b'] True True\n"
    assert (sys.argv, sys.modules["__main__"]) == before


def test_a_module_is_a_program_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "__main__.py").write_text("from pack import part\nprint(part.x, __package__)\n")
    (tmp_path / "pack" / "part.py").write_text("import torch\nx = torch.tensor([0.5] * 20_000).sum()\n")
    monkeypatch.chdir(tmp_path)
    found = watch_program(module="pack")
    for name in ("pack", "pack.part"):
        sys.modules.pop(name, None)
    assert capsys.readouterr().out == "tensor(10000.) pack\n"
    assert [(Path(one.file).name, one.line) for one in found.lines] == [("part.py", 2)]
    assert not list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("name", ["none.py", "folder", "image.py"])
def test_what_is_no_program_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "image.py").write_bytes(b"\x89PNG\0\0")
    with pytest.raises(LoraPerfError, match="expected a program"):
        watch_program(tmp_path / name)


@pytest.mark.parametrize("name", ["nowhere.at.all", "sys", "no such"])
def test_what_is_no_module_is_one_line(name: str) -> None:
    with pytest.raises(LoraPerfError, match="written in Python"):
        watch_program(module=name)


def test_programs_that_profile_themselves_and_use_threads_are_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
import sys, threading, torch
seen = []
sys.setprofile(lambda frame, event, arg: seen.append(event))
found = []
def work():
    found.append(torch.tensor([[0.5] * 100] * 50).sum().item())
threads = [threading.Thread(target=work) for _ in range(4)]
[one.start() for one in threads]; [one.join() for one in threads]
sys.setprofile(None)
print(sorted(found), len(seen) > 0)
"""
    found = watch_program(written(tmp_path, text))
    assert capsys.readouterr().out == "[2500.0, 2500.0, 2500.0, 2500.0] True\n"
    assert [(one.kind, one.calls, one.values) for one in found.lines] == [("list to tensor", 4, 20_000)]


def test_many_calls_of_a_line_are_counted_all_and_timed_some(tmp_path: Path) -> None:
    text = "import torch\nx = torch.rand(100)\nfor i in range(5000):\n    x[i % 100].item()\n"
    (line,) = watch_program(written(tmp_path, text)).lines
    assert (line.calls, line.line, line.kind) == (5000, 4, "value by value")


@pytest.mark.parametrize("name", ["pickle.loads", "torch.load", "pandas.read_csv", "pyarrow.parquet.read_table", "numpy.array"])
def test_entry_points_are_sent_to_pools_by_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = name.rpartition(".")[0]
    text = f"import pickle, {module}\nprint(pickle.loads(pickle.dumps({name})) is {name})\n"
    assert watch_program(written(tmp_path, text)).status == 0
    assert capsys.readouterr().out == "True\n"


# As a command, in a process of its own


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lora_perf.diagnose", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_the_command_keeps_output_and_status_and_reports_beside(tmp_path: Path) -> None:
    text = "import sys, torch\nx = torch.tensor([0.5] * 20_000)\nprint(sys.argv[1:])\nsys.exit(7)\n"
    running = started("--script", str(written(tmp_path, text)), "--json", str(tmp_path / "a.json"), "--", "--budget", "-m")
    said, told = running.communicate(timeout=120)
    assert (running.returncode, said) == (7, "['--budget', '-m']\n")
    assert "program.py:2: x = torch.tensor" in told
    found = json.loads((tmp_path / "a.json").read_text())
    assert [(one["line"], one["kind"]) for one in found["lines"]] == [(2, "list to tensor")]
    assert found["status"] == 7


def test_ctrl_c_ends_a_program_that_loops_and_tells_what_was_seen(tmp_path: Path) -> None:
    text = "import torch\nx = torch.tensor([0.5] * 20_000)\nprint('ready', flush=True)\nwhile True:\n    pass\n"
    running = started("--script", str(written(tmp_path, text)))
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    try:
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()  # one that did not end would loop for good
    assert running.returncode == 130
    assert "program.py:2" in told
    assert "Traceback" not in told


def test_a_program_that_forks_is_reported_once(tmp_path: Path) -> None:
    text = "import os, sys, torch\nx = torch.tensor([0.5] * 20_000)\n"
    text += "if os.fork() == 0:\n    sys.exit(0)\nos.wait()\nprint('end')\n"
    running = started("--script", str(written(tmp_path, text)))
    said, told = running.communicate(timeout=120)
    assert (running.returncode, said) == (0, "end\n")
    assert told.count("program.py:2") == 1


def test_a_program_that_leaves_at_once_leaves_with_its_status(tmp_path: Path) -> None:
    running = started("--script", str(written(tmp_path, "import os\nos._exit(5)\n")))
    assert (running.communicate(timeout=120), running.returncode) == (("", ""), 5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--script", "nowhere.py"], "a program at nowhere.py"),
        (["-m", "no.such"], "a module no.such"),
        (["--script", "a.py", "-m", "b"], "found both"),
    ],
)
def test_a_wrong_program_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
