from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console

from lora_perf.command.status import (
    INTERRUPTED,
    TERMINATED,
    USER_ERROR,
    Terminated,
    _leave,
    _started,
    begin,
    exit_status,
    give_back,
    refuse_lost_output,
)
from lora_perf.core.errors import LoraPerfError


def fail(error: BaseException) -> int:
    raise error


def test_a_command_that_nothing_stops_tells_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: 1) == 1
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_the_user_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = LoraPerfError(expected="a zoo", found="nothing", fix="write one")
    assert exit_status(lambda: fail(error)) == USER_ERROR == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_an_interruption_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: fail(KeyboardInterrupt()), lambda: "two cells are saved") == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "interrupted; two cells are saved\n")


def test_a_fault_of_the_package_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: fail(ZeroDivisionError()))


def test_sigterm_ends_like_an_interruption_with_the_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cleaned: list[type[BaseException]] = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            cleaned.append(type(error))
            raise
        return 0

    assert exit_status(work, lambda: "two cells are saved") == TERMINATED == 143
    assert capsys.readouterr() == ("", "terminated; two cells are saved\n")
    assert cleaned == [Terminated]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_command_whose_work_is_done_ends_with_its_status_whatever_comes() -> None:
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert exit_status(lambda: 1) == 1
        for number in before:
            signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_handler_of_the_callers_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        assert exit_status(lambda: signal.raise_signal(signal.SIGTERM) or 5) == 5
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


def test_a_command_without_a_working_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.setattr("lora_perf.command.status._started", lambda: "lora_perf.inspect")
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit, match=f"^{USER_ERROR}$"):
        begin()
    told = "error: expected a working folder; found one that was removed; change to another folder\n"
    assert capsys.readouterr().err == told


def test_a_command_in_another_thread_works_without_signals() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(exit_status(lambda: 3)))
    thread.start()
    thread.join()
    assert found == [3]


def test_an_error_of_the_system_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: len(os.listdir("/no/such/folder"))) == USER_ERROR
    assert capsys.readouterr().err == "error: No such file or directory: /no/such/folder\n"


def _closed_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


def _full() -> TextIO:
    return open("/dev/full", "w")


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("make", [_closed_pipe, _full, _closed, lambda: None], ids=["pipe", "full", "closed", "none"])
def test_work_goes_on_where_a_stream_cannot_be_written(
    make: Callable[[], TextIO | None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make()
    monkeypatch.setattr(sys, name, stream)
    done: list[int] = []

    def work() -> int:
        to = getattr(sys, name)
        for number in range(3):
            print("x" * 10_000, file=to, flush=True)
            Console(file=to).print("[bold]text[/]")
            done.append(number)
        raise LoraPerfError(expected="a zoo", found="nothing", fix="write one")

    assert exit_status(work) == USER_ERROR
    assert done == [0, 1, 2]
    assert getattr(sys, name) is stream
    if stream is not None:
        stream.close()  # what it held must not fail now


def test_output_that_was_lost_is_an_error_where_it_is_the_product(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def show() -> int:
        print("the product", flush=True)
        refuse_lost_output()
        return 0

    with _full() as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert exit_status(show) == USER_ERROR
    assert "a standard output that can be written; found No space left on device" in capsys.readouterr().err
    with _closed_pipe() as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert exit_status(show) == 0  # whoever closes a pipe has seen enough
    assert exit_status(show) == 0


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("python -m lora_perf.inspect -m x", "lora_perf.inspect"),
        ("python -W error -Im lora_perf.audit", "lora_perf.audit"),
        ("python -X importtime -mbenchmarks.report", "benchmarks.report"),
        ("python -m pytest lora_perf", "pytest"),
        ("python program.py -m", ""),
        ("python -Wm -c pass", ""),
        ("python /usr/local/bin/lora-perf run -m x", "lora_perf"),
        ("python -X dev -I lora-perf.exe", "lora_perf"),
        ("python lora-perf.py", ""),
        ("python program.py lora-perf", ""),
        ("python", ""),
    ],
)
def test_the_module_that_a_process_was_started_with_is_known(
    command: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", command.split())
    assert _started() == module


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "started", ["-m lora_perf.experiment", "-m lora_perf.inspect", "-m lora_perf.audit", "-m lora_perf audit", "lora-perf run"]
)
def test_a_signal_while_libraries_are_imported_ends_silently(number: signal.Signals, started: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(100)\n")
    script = tmp_path / "lora-perf"
    script.write_text("import sys\nfrom lora_perf.__main__ import main\nsys.exit(main())\n")
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, *(str(script) if word == script.name else word for word in started.split())],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "")


def test_a_process_that_is_forked_off_is_no_command() -> None:
    text = """
import os, signal
from lora_perf.command.status import exit_status

def work():
    child = os.fork()
    if child == 0:
        print([signal.getsignal(number) for number in (2, 15)] == [signal.default_int_handler, signal.SIG_DFL], flush=True)
        signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return 0

raise SystemExit(exit_status(work))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n-15\n", "")


def test_a_program_that_a_command_runs_keeps_its_own_handlers_and_streams() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.stdout
    mine: list[int] = []

    def handler(number: int, _: object) -> None:
        mine.append(number)

    def work() -> int:
        give_back()
        assert (signal.getsignal(signal.SIGTERM), sys.stdout) == (before[0], before[2])
        signal.signal(signal.SIGTERM, handler)
        return 0

    try:
        assert exit_status(work) == 0
        signal.raise_signal(signal.SIGTERM)
        assert mine == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before[0])
    assert (signal.getsignal(signal.SIGINT), sys.stdout) == before[1:]
