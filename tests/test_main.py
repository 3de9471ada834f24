"""`lora-perf` and `python -m lora_perf`, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lora_perf
from lora_perf.__main__ import main
from lora_perf.command.about import COMMANDS, answer
from lora_perf.core.errors import LoraPerfError

ROOT = Path(__file__).parent.parent
WAYS = ["script", "module"]


@pytest.fixture
def started(tmp_path: Path) -> list[str]:
    """The console script as pip writes it, and the module."""
    (tmp_path / "lora-perf").write_text("import sys\nfrom lora_perf.__main__ import main\nsys.exit(main())\n")
    return [sys.executable, str(tmp_path / "lora-perf")]


def run(*words: str, before: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A process in an environment of its own, where modules are looked for in a folder first."""
    environment = {"PYTHONPATH": f"{before}{os.pathsep}{ROOT}"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)


def command(way: str, started: list[str]) -> list[str]:
    return started if way == "script" else [sys.executable, "-m", "lora_perf"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--version"], 0, f"lora_perf {lora_perf.__version__}\n"),
        (["run", "--version"], 0, f"lora_perf {lora_perf.__version__}\n"),
        ([], 0, "usage: {} COMMAND ...\n"),
        (["--help"], 0, "usage: {} COMMAND ...\n"),
        (["-h"], 0, "usage: {} COMMAND ...\n"),
        (
            ["nonsense"],
            2,
            "error: expected a command (run, inspect, diagnose, audit, pack); found 'nonsense'; choose among these",
        ),
    ],
)
def test_what_needs_no_command_is_answered_without_torch(
    way: str, words: list[str], status: int, told: str, started: list[str], tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    done = run(*command(way, started), *words, before=tmp_path)
    assert done.returncode == status, done.stderr
    assert (done.stdout + done.stderr).startswith(told.format("lora-perf" if way == "script" else "python -m lora_perf"))
    assert "" in (done.stdout, done.stderr)


@pytest.mark.parametrize("module", ["experiment", "inspect", "audit", "io", "zoos.digits", "zoos.synthetic"])
def test_every_command_tells_its_version(module: str) -> None:
    done = run(sys.executable, "-m", f"lora_perf.{module}", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lora_perf {lora_perf.__version__}\n", "")


def test_usage_names_the_way_in_which_a_command_was_started(started: list[str]) -> None:
    assert run(*started, "inspect", "--help").stdout.startswith("usage: lora-perf inspect ")


@pytest.mark.parametrize("word", COMMANDS)
def test_each_word_starts_its_command(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m lora_perf {word} ")


def test_words_after_the_command_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--num-runs", "0"]) == 2
    assert "--num-runs of at least 1; found 0" in capsys.readouterr().err


def test_a_word_that_is_no_command_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LoraPerfError, match=r"found '\\x1b\[31m'; choose among these"):
        answer(["\x1b[31m"])
    assert capsys.readouterr() == ("", "")
