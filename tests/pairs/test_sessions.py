"""Two sessions side by side: what they time, which packages they measure, and what is said where one of them cannot."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.pairs import calls, packages, sessions, workers
from lora_perf.pairs.compare import Bench, Verdict, compare
from lora_perf.pairs.packages import Packages
from lora_perf.pairs.rule import Rule
from lora_perf.pairs.sessions import Sessions, Trees
from lora_perf.pairs.workers import BaseError, Worker, WorkerError

_RULE = Rule(suspicion=1.4, threshold=1.6, looks=(0.05, 0.2))  # generous: what is tested is not the clock of a busy machine
_WORK = """
import time

def spin():
    return sum(range({loops}))

def wait():
    time.sleep({wait})
"""
_TESTS = """
import sys
from pathlib import Path

import work

def test_spin(benchmark):
    assert benchmark(work.spin) > 0, "wrong sum"

def test_wait(benchmark):
    benchmark(work.wait)
    with open("ended", "a") as file:
        print(work.__file__, file=file)
"""
_CHILD = """
import subprocess
import sys

def child():
    with open("told", "a") as file:
        subprocess.run([sys.executable, "-c", "import work; print(work.__file__)"], stdout=file, check=True)

def test_child(benchmark):
    benchmark(child)
"""
SPIN, WAIT = "test_work.py::test_spin", "test_work.py::test_wait"


class Sides:
    """A folder with tests, and a module of each side."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tests(_TESTS)
        for side in ("base", "change"):
            self.work(side)

    def tests(self, text: str) -> None:
        (self.root / "test_work.py").write_text(text)

    def work(self, side: str, loops: int = 300_000, wait: float = 0.005, more: str = "") -> None:
        (self.root / side).mkdir(exist_ok=True)
        (self.root / side / "work.py").write_text(_WORK.format(loops=loops, wait=wait) + more)

    def start(self, rehearsed: set[str] | None = None) -> Sessions:
        return Sessions(self.trees(), rehearsed=rehearsed)

    def trees(self) -> Trees:
        both = Packages(("work",), self.root / "base", self.root / "change")
        return Trees(self.root, self.root, self.root, (), both)

    def found(self, *names: str) -> list[tuple[Verdict, str]]:
        with Bench(self.start) as bench:
            return [(one.verdict, one.note) for one in compare(bench, names, _RULE)]


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path.resolve())


def middle(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def test_each_side_measures_its_own_package_whatever_stands_beside_the_tests(sides: Sides) -> None:
    (sides.root / "work.py").write_text("raise RuntimeError('of the tree')\n")
    sides.work("change", loops=900_000)
    with sides.start() as pair:
        pair.prepare(SPIN)
        assert 2 < middle(pair.sample().ratio for _ in range(9)) < 4.5
        pair.prepare(WAIT)
        pair.finish()
    told = set((sides.root / "ended").read_text().split())
    assert told == {str(sides.root / side / "work.py") for side in ("base", "change")}


def test_a_package_that_the_base_lacks_is_not_that_of_the_tree(sides: Sides) -> None:
    sides.tests("def test_one(benchmark):\n    import work\n    benchmark(work.spin)\n")
    (sides.root / "work.py").write_text("spin = dict\n")
    (sides.root / "base" / "work.py").unlink()
    with sides.start() as pair, pytest.raises(BaseError, match="No module named 'work'"):
        pair.prepare("test_work.py::test_one")


def test_waiting_counts_as_time_of_its_own_but_not_as_work(sides: Sides) -> None:
    sides.work("change", wait=0.015)
    with sides.start() as pair:
        pair.prepare(WAIT)
        samples = [pair.sample() for _ in range(5)]
    assert middle(one.ratio for one in samples) > 2
    assert all(one.change.cpu < 0.5 * one.change.own <= 0.5 * one.change.wall for one in samples)


def test_a_core_that_was_missed_beside_the_calls_makes_no_call_faster_than_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    delays = iter([0.0, 100.0])
    monkeypatch.setattr(calls, "_delay_seconds", lambda: next(delays))
    clock = calls.Clock()
    clock.measure(lambda: sum(range(200_000)), 1)
    assert 0 < clock.own <= clock.wall


def test_short_calls_repeat_within_a_sample(sides: Sides) -> None:
    sides.work("base", wait=0.001)
    with sides.start() as pair:
        pair.prepare(WAIT)
        assert pair.sample().base.wall > 0.3 * sessions.SAMPLE_SECONDS


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no process on a core")
def test_a_pair_shares_a_core_and_the_next_takes_another(sides: Sides) -> None:
    before = os.sched_getaffinity(0)
    found = []
    for _ in before:
        with sides.start() as pair:
            pair.prepare(SPIN)
            both = [os.sched_getaffinity(side.pid) for side in (pair.base, pair.change)]
        assert both[0] == both[1]
        found += both[0]
    assert sorted(found) == sorted(before)
    assert os.sched_getaffinity(0) == before


def test_a_wrong_result_of_the_change_is_reported_and_never_timed(sides: Sides) -> None:
    sides.work("change", loops=0)
    with sides.start(set()) as pair:
        with pytest.raises(WorkerError, match="failed: AssertionError: wrong sum"):
            pair.prepare(SPIN)
        with pytest.raises(WorkerError, match="run before prepare"):
            pair.sample()
        assert not pair.broken


def test_a_test_is_run_to_its_end_once_and_by_no_fresh_session_again(sides: Sides) -> None:
    known: set[str] = set()
    for lines in (4, 6):  # of both sides: a rehearsal and the test; then the test alone
        with sides.start(known) as pair:
            pair.prepare(WAIT)
            pair.finish()
        assert len((sides.root / "ended").read_text().splitlines()) == lines
    assert known == {WAIT}


def test_a_call_that_does_not_bear_to_be_watched_is_timed_and_not_counted(sides: Sides) -> None:
    sides.work("change", more="\nimport sys\n\ndef spin():\n    assert not sys.getprofile()\n    return 1\n")
    with sides.start() as pair:
        pair.prepare(SPIN)
        assert pair.sample().change.wall > 0
        assert pair.counts() == {}
        assert pair.finish() == ""


def test_a_base_that_cannot_do_it_is_no_fault_of_the_change(sides: Sides) -> None:
    sides.work("base", more="\ndel spin\n")
    with sides.start() as pair, pytest.raises(BaseError, match="AttributeError: module 'work' has no attribute 'spin'"):
        pair.prepare(SPIN)


def test_a_worker_that_ends_says_how_and_the_next_test_has_a_fresh_one(sides: Sides) -> None:
    sides.work("change", more="\nimport os\nspin = lambda: os._exit(9)\n")
    (ended, why), (kept, _) = sides.found(SPIN, WAIT)
    assert (ended, kept) == (Verdict.FAILS, Verdict.KEPT)
    assert "the process ended with status 9" in why


@pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
def test_a_test_that_ends_its_session_costs_no_other_test(sides: Sides, end: str) -> None:
    sides.tests(f"import pytest\n{_TESTS}\n\ndef test_end(benchmark):\n    {end}\n")
    (ended, why), (kept, _) = sides.found("test_work.py::test_end", WAIT)
    assert (ended, kept) == (Verdict.FAILS, Verdict.KEPT)
    assert "pytest ended" in why


def test_a_worker_that_does_not_answer_is_given_up(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    sides.work("change", wait=60)
    with Worker(sides.trees().side(base=False)) as one:
        one.receive()
        monkeypatch.setattr(workers, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(WorkerError, match=r"no answer: waited for 0\.2 seconds"):
            one.ask("prepare", name=WAIT, rehearse=False)
        assert one.broken


def test_tests_that_cannot_be_imported_are_an_error_of_the_user(sides: Sides) -> None:
    sides.work("change", more="import nothing_of_that_name")
    with pytest.raises(LoraPerfError, match=r"tests of the change that can be imported.*nothing_of_that_name"):
        sides.start()


def test_a_slowdown_that_fresh_workers_do_not_find_is_no_slowdown() -> None:
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


# Packages of a tree


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root.resolve()


def test_packages_are_what_stands_under_the_roots_of_imports_without_the_tests(tmp_path: Path) -> None:
    inner, tests = ("src/inner/__init__.py", "src/inner/deep.py", "src/single.py"), ("tests/__init__.py", "tests/test_one.py")
    others = ("conftest.py", "setup.py", "docs/page.md", "lib/extra/__init__.py", "tests/helper.py", "no-name.py")
    root = tree(tmp_path / "tree", "flat/__init__.py", *inner, *tests, *others)
    found = packages.names(root, [str(root / "lib"), str(root / "tests"), sys.prefix], {root / "tests/test_one.py"})
    assert found == ("flat", "inner", "single", "extra")
    both = packages.both(found, root, tree(tmp_path / "base", "src/flat/__init__.py"), [str(root / "lib")], tmp_path / "made")
    assert sorted(path.name for path in both.change.iterdir()) == ["extra", "flat", "inner", "single.py"]


def test_packages_are_the_same_where_their_files_are(tmp_path: Path) -> None:
    root, base = (tree(tmp_path / side, "pack/__init__.py", "pack/data.bin") for side in ("tree", "base"))
    tree(root, "pack/__pycache__/left.pyc", "other.txt")
    assert packages.both(("pack",), root, base, [], tmp_path / "first").same
    (root / "pack" / "data.bin").write_bytes(b"\1")
    assert not packages.both(("pack",), root, base, [], tmp_path / "second").same


@pytest.mark.parametrize(
    ("chosen", "message"),
    [(("other",), "expected packages of .*; found none called other"), (("here",), "a commit that has here; found none")],
)
def test_packages_that_a_side_lacks_are_an_error(tmp_path: Path, chosen: tuple[str, ...], message: str) -> None:
    root, base = tree(tmp_path / "tree", "here/__init__.py"), tree(tmp_path / "base", "there/__init__.py")
    with pytest.raises(LoraPerfError, match=message):
        packages.both(chosen, root, base, [], tmp_path / "made")


def test_a_tree_without_a_package_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree", "tests/test_one.py")
    with pytest.raises(LoraPerfError, match=r"a package beside the tests in .*; found none"):
        packages.names(root, [], {root / "tests/test_one.py"})


def test_programs_that_a_test_starts_find_the_package_of_its_side(sides: Sides) -> None:
    sides.tests(_CHILD)
    (sides.root / "work.py").write_text("")
    with sides.start() as pair:
        pair.prepare("test_work.py::test_child")
    told = set((sides.root / "told").read_text().split())
    assert told == {str(sides.root / side / "work.py") for side in ("base", "change")}


@pytest.mark.parametrize("threads", [1, 2])
def test_both_sides_have_as_many_threads_and_cores_as_asked(sides: Sides, threads: int) -> None:
    if sessions.count_cores() < threads:
        pytest.skip("one core")
    sides.tests(
        "import os\n\ndef look():\n    with open('told', 'a') as file:\n"
        "        print(os.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0)), file=file)\n\n"
        "def test_look(benchmark):\n    benchmark(look)\n"
    )
    with Sessions(replace(sides.trees(), threads=threads)) as pair:
        pair.prepare("test_work.py::test_look")
        (sides.root / "told").unlink()  # of the call that was made ready on all cores
        pair.sample()
        pair.finish()
    assert set((sides.root / "told").read_text().splitlines()) == {f"{threads} {threads}"}
