"""The guard: its workers, its verdicts and exit statuses, and that it leaves nothing behind."""

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
from benchmarks.guard import packages
from benchmarks.guard.check import Check, workload_scales
from benchmarks.guard.sides import Workloads, bench_of, side_of
from lora_perf import LoraPerfError
from lora_perf.pairs import trees, worker, workers
from lora_perf.pairs.compare import Verdict, compare
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.workers import BaseError, Worker, WorkerError
from tests.benchmarks.guard_tree import Tree

_RULE = Rule(suspicion=1.4, threshold=1.6, looks=(0.05, 0.2))  # generous: what is tested is not the clock of a busy machine


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


@pytest.fixture
def two_packages(tree: Tree, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the package, the second of which does its work three times."""
    base = packages.copy_package(tree.root, tmp_path / "base")
    tree.work(times=3, wait=0.015)
    return base, packages.copy_package(tree.root, tmp_path / "change")


def checked(tree: Tree, base: str | None = None, **arguments: tuple[str, ...]) -> tuple[bool, str]:
    """What a check says, and what it prints."""
    text = io.StringIO()
    found = Check(tree.root, "small", _RULE, Console(file=text, width=200)).run(base, **arguments)
    return found, text.getvalue()


# Workers


def test_a_worker_measures_the_package_in_its_folder_and_no_other(tree: Tree, two_packages: tuple[Path, Path]) -> None:
    with Workloads(*two_packages, "small", tree.root) as pair:
        pair.prepare("spinning")
        ratios = sorted(pair.sample().ratio for _ in range(9))
    assert 2 < ratios[4] < 4.5


def test_waiting_counts_as_time_of_its_own_but_not_as_work(tree: Tree, two_packages: tuple[Path, Path]) -> None:
    with Workloads(*two_packages, "small", tree.root) as pair:
        pair.prepare("sleeping")
        samples = [pair.sample() for _ in range(5)]
    assert sorted(one.ratio for one in samples)[2] > 2
    assert all(one.change.cpu < 0.5 * one.change.own <= 0.5 * one.change.wall for one in samples)


def test_a_core_that_was_missed_beside_the_calls_makes_no_call_faster_than_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    delays = iter([0.0, 100.0])
    monkeypatch.setattr(worker, "_delay_seconds", lambda: next(delays))
    clock = worker.Clock()
    clock.measure(lambda: sum(range(200_000)), 1)
    assert 0 < clock.own <= clock.wall


def test_short_calls_repeat_within_a_sample(tree: Tree, tmp_path: Path) -> None:
    tree.work(wait=0.001)
    package = packages.copy_package(tree.root, tmp_path / "package")
    with Workloads(package, package, "small", tree.root) as pair:
        pair.prepare("sleeping")
        assert pair.sample().base.wall > 0.3 * workers.SAMPLE_SECONDS


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no process on a core")
def test_a_pair_shares_a_core_and_the_next_takes_another(tree: Tree, two_packages: tuple[Path, Path]) -> None:
    before = os.sched_getaffinity(0)
    found = []
    for _ in before:
        with Workloads(*two_packages, "small", tree.root) as pair:
            pair.prepare("spinning")
            sides = [os.sched_getaffinity(side.pid) for side in (pair.base, pair.change)]
        assert sides[0] == sides[1]
        found += sides[0]
    assert sorted(found) == sorted(before)
    assert os.sched_getaffinity(0) == before


def test_a_wrong_result_of_the_change_is_reported_and_never_timed(tree: Tree, tmp_path: Path) -> None:
    base = packages.copy_package(tree.root, tmp_path / "base")
    tree.work(result="0")
    with Workloads(base, packages.copy_package(tree.root, tmp_path / "change"), "small", tree.root) as pair:
        with pytest.raises(WorkerError, match="AssertionError: wrong sum"):
            pair.prepare("spinning")
        with pytest.raises(WorkerError, match="prepare comes first"):
            pair.sample()
        assert not pair.broken


def test_a_base_that_cannot_do_it_is_no_fault_of_the_change(tree: Tree, tmp_path: Path) -> None:
    change = packages.copy_package(tree.root, tmp_path / "change")
    tree.write("lora_perf/work.py", "")
    with (
        Workloads(packages.copy_package(tree.root, tmp_path / "base"), change, "small", tree.root) as pair,
        pytest.raises(BaseError, match=r"AttributeError: .* has no attribute 'spin'"),
    ):
        pair.prepare("spinning")


def test_a_worker_that_ends_says_how_and_the_next_workload_has_a_fresh_one(tree: Tree, tmp_path: Path) -> None:
    base = packages.copy_package(tree.root, tmp_path / "base")
    tree.write("lora_perf/work.py", (tree.root / "lora_perf/work.py").read_text() + "\nimport os\nspin = lambda: os._exit(9)\n")
    with bench_of(base, packages.copy_package(tree.root, tmp_path / "change"), "small", tree.root) as bench:
        found = list(compare(bench, ["spinning", "sleeping"], _RULE))
    assert [one.verdict for one in found] == [Verdict.FAILS, Verdict.KEPT]
    assert "the process ended with status 9" in found[0].note


def test_a_worker_that_does_not_answer_is_given_up(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.work(wait=60)
    with Worker(side_of(packages.copy_package(tree.root, tmp_path / "package"), tree.root)) as one:
        one.receive()
        monkeypatch.setattr(workers, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(WorkerError, match=r"no answer: waited for 0\.2 seconds"):
            one.ask("prepare", workload="sleeping", scale="small")
        assert one.broken


def test_a_package_that_cannot_be_imported_is_an_error_of_the_user(tree: Tree, tmp_path: Path) -> None:
    base = packages.copy_package(tree.root, tmp_path / "base")
    tree.write("lora_perf/__init__.py", "import nothing_of_that_name")
    with pytest.raises(LoraPerfError, match=r"lora_perf of the change that can be imported.*nothing_of_that_name"):
        Workloads(base, packages.copy_package(tree.root, tmp_path / "change"), "small", tree.root)


# Verdicts


def test_slower_work_is_measured_by_fresh_workers_before_it_counts(tree: Tree) -> None:
    tree.work(times=3)
    found, text = checked(tree)
    assert not found
    assert "SLOWER: spinning" in text
    assert "2 times" in text
    assert "1 of 2 workloads kept their speed" in text


def test_a_slowdown_that_fresh_workers_do_not_find_is_no_slowdown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Luck:
        """A bench whose first pair lies badly."""

        def __init__(self) -> None:
            self.fresh = 0

        def renew(self) -> None:
            self.fresh += 1

        def measure(self, workload: str, rule: Rule, *, again: bool) -> object:
            assert again == bool(self.fresh)
            return rule.measure(lambda: 1.0 if self.fresh else 2.0, again=again, clock=iter(range(10_000)).__next__)

    bench = Luck()
    (found,) = compare(bench, ["any"], Rule())  # type: ignore[arg-type]
    assert found.verdict is Verdict.KEPT
    assert [one.interval.median for one in found.outcomes] == [2.0, 1.0, 1.0]
    assert bench.fresh == 2


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
    assert "VANISHED: sleeping only the base has it" in printed
    assert "nothing to time" in printed
    assert checked(tree, gone=("sleeping",))[0]


def test_a_workload_that_the_base_lacks_is_new_and_does_not_fail(tree: Tree) -> None:
    tree.write("lora_perf/work.py", (tree.root / "lora_perf/work.py").read_text().replace("def wait", "def old_wait"))
    tree.commit()
    tree.work()
    found, text = checked(tree, base="HEAD")
    assert found
    assert "n/a      sleeping: the base cannot do it: AttributeError" in text


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
    assert "FAILS: spinning AssertionError: wrong sum" in text
    tree.write("benchmarks/stages/fake.py", "import nothing_of_that_name")
    with pytest.raises(LoraPerfError, match=r"workloads that can be imported; found ModuleNotFoundError.*nothing_of_that_name"):
        workload_scales(tree.root, tree.root)


# Revisions


def test_the_base_is_where_the_branch_left_main(tree: Tree) -> None:
    left = tree.git("rev-parse", "HEAD")
    tree.git("switch", "--quiet", "--create", "branch")
    tree.work(times=2)
    tree.commit()
    assert trees.base_revision(tree.root, None).commit == left
    assert "merge base with main" in str(trees.base_revision(tree.root, None))


def test_a_base_that_is_not_there_is_an_error(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"HEAD has a commit in common.*name the commit to compare with by --base"):
        trees.base_revision(tmp_path, None)
    tree.git("rm", "-r", "--quiet", "--cached", "lora_perf")
    tree.git("commit", "--quiet", "--message", "none")
    with pytest.raises(LoraPerfError, match="a commit with a folder lora_perf; found none in"):
        packages.extract_package(tree.root, trees.base_revision(tree.root, "HEAD"), tmp_path / "base")


# The command


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
        (["--seconds", "0"], "expected --seconds above 0"),
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
