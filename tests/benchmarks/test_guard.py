"""The guard, `pytest --pairs` over the table of workloads: verdicts and exit statuses, and that it leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.guard import __main__ as command
from benchmarks.guard import suite
from benchmarks.guard.__main__ import GuardConfig, check
from lora_perf import LoraPerfError
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import count_cores
from tests.benchmarks.guard_tree import Tree

_RULE = Rule(suspicion=1.4, threshold=1.6, looks=(0.05, 0.2))  # generous: what is tested is not the clock of a busy machine


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def checked(tree: Tree, base: str | None = None, **arguments: tuple[str, ...]) -> tuple[bool, str]:
    """What a check says, and what it prints."""
    text = io.StringIO()
    found = check(tree.root, GuardConfig(base, **arguments), _RULE, Console(file=text, width=200))
    return found, text.getvalue()


def test_slower_work_is_measured_by_fresh_workers_before_it_counts(tree: Tree) -> None:
    tree.work(times=3)
    found, text = checked(tree)
    assert not found
    assert "SLOWER: spinning" in text
    assert "2 times" in text
    assert "1 of 2 workloads kept their speed" in text


@pytest.mark.parametrize("cores", [1, 2])
def test_some_workloads_are_compared_on_two_threads_too(tree: Tree, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    if count_cores() < cores:
        pytest.skip("one core")
    monkeypatch.setattr(suite, "ON_TWO_THREADS", ("sleeping",))
    monkeypatch.setattr(command, "count_cores", lambda: cores)
    tree.work(times=1.01)
    found, text = checked(tree)
    assert found
    assert ("kept     sleeping, two threads: " in text) == (cores == 2)
    assert ("not compared on two threads, since there is one core: sleeping" in text) == (cores == 1)


def test_uncommitted_changes_are_the_change_and_the_tree_stays_as_it_is(tree: Tree) -> None:
    tree.work(times=1.01)
    before = tree.git("status", "--porcelain"), tree.git("worktree", "list"), tree.git("branch", "--all")
    found, text = checked(tree)
    assert found
    assert "2 of 2 workloads kept their speed" in text
    assert before == (tree.git("status", "--porcelain"), tree.git("worktree", "list"), tree.git("branch", "--all"))


def test_a_vanished_workload_fails_even_where_the_package_is_the_same(tree: Tree) -> None:
    text = (tree.root / "benchmarks/stages/fake.py").read_text()
    tree.write("benchmarks/stages/fake.py", text.replace("def sleeping", "def dozing"))
    found, printed = checked(tree)
    assert not found
    assert "VANISHED sleeping: only the base has it" in printed
    assert "nothing to time" in printed
    assert checked(tree, gone=("sleeping",))[0]


def test_a_workload_that_the_base_lacks_is_new_and_does_not_fail(tree: Tree) -> None:
    tree.write("lora_perf/work.py", (tree.root / "lora_perf/work.py").read_text().replace("def wait", "def old_wait"))
    tree.commit()
    tree.work()
    found, text = checked(tree, base="HEAD")
    assert found
    assert "n/a      sleeping: the base cannot do it: failed: AttributeError" in text


def test_a_base_that_can_do_nothing_is_an_error(tree: Tree) -> None:
    tree.write("lora_perf/work.py", "")
    tree.commit()
    tree.work()
    with pytest.raises(LoraPerfError, match=r"expected a workload that .* can do; found none of those compared"):
        checked(tree, base="HEAD")


def test_a_wrong_result_fails_and_workloads_that_cannot_be_imported_are_an_error(tree: Tree) -> None:
    tree.work(result="0")
    found, text = checked(tree)
    assert not found
    assert "FAILS    spinning: failed: AssertionError: wrong sum" in text
    tree.write("benchmarks/stages/fake.py", "import nothing_of_that_name")
    with pytest.raises(LoraPerfError, match=r"tests of the \w+ that can be imported; found .*nothing_of_that_name"):
        checked(tree)


@pytest.fixture
def run_main(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Points the command to the small repository; returns arguments for a quick run."""
    monkeypatch.setattr(command, "ROOT", tree.root)
    return ["--seconds", "0.2", "--workloads", "spinning"]


def test_the_exit_status_is_0_where_all_is_well_and_1_where_something_got_slower(
    tree: Tree, run_main: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(run_main) == 0
    tree.work(times=4)
    assert command.main(run_main) == 1
    told = capsys.readouterr().out
    assert "SLOWER: spinning" in told
    assert "sleeping" not in told  # which was not named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base", "nowhere"], "found 'nowhere'"),
        (["--workloads", "nothing"], "expected workloads (spinning, sleeping); found nothing"),
        (["--seconds", "0"], "expected seconds above 0"),
    ],
)
def test_the_exit_status_is_2_where_the_user_is_wrong(
    arguments: list[str], message: str, run_main: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_guard_stops_its_workers_and_removes_its_folders(
    tree: Tree, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    tree.work(times=1.01)
    folder, pids = tmp_path / "temporary", tmp_path / "pids"
    folder.mkdir()
    pids.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "GUARD_TEST_PIDS": str(pids), "PYTHONPATH": str(tree.root)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "benchmarks.guard", "--seconds", "100", "--workloads", "spinning"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == status
    assert list(folder.iterdir()) == []
    running = [int(path.name) for path in pids.iterdir()]
    assert len(running) == 2
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_finished_guard_leaves_no_folder(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    checked(tree, workloads=("spinning",))
    tree.work(times=1.01)
    checked(tree, workloads=("spinning",))
    assert list(folder.iterdir()) == []
