"""`pytest --pairs` on projects that know nothing of it: three answers, bad inputs, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITES = Path(__file__).parent / "suites"
_SLOW = """

_plain = {name}


def {name}(*arguments):
    for _ in range({times}):
        found = _plain(*arguments)
    return found
"""
_HEAVY = """

def dump(table):
    held = [list(range(200_000))]
    return json.dumps(table)
"""
_SLEEPS = """

def test_slow(benchmark):
    import time

    print(open('here', 'a'))
    benchmark(time.sleep, 0.2)
"""

Project = Callable[..., Path]


def git(root: Path, *words: str) -> str:
    settings = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *settings, *words], cwd=root, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """The project of pure Python in a repository."""
    root = tmp_path / "words"
    shutil.copytree(SUITES / "words", root, ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "base")
    return root


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where temporary files of a run go; empty when it is over."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "lora_perf_pairs", "-p", "no:cacheprovider", *arguments]


def pairs(root: Path, scratch: Path, *arguments: str, base: str = "HEAD") -> tuple[int, str, dict[str, dict[str, Any]]]:
    """Status, what is said, and what was found of each benchmark."""
    found = root.parent / "found.json"
    found.unlink(missing_ok=True)
    settings = ["--pairs", base, "--pairs-seconds=0.4", f"--pairs-json={found}"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(
        command(*settings, *arguments), cwd=root, capture_output=True, text=True, check=False, env=environment
    )
    told = {one["test"].rpartition("::")[2]: one for one in json.loads(found.read_text())["tests"]} if found.exists() else {}
    assert [path.name for path in scratch.iterdir() if not path.name.startswith("pytest-of")] == []
    return done.returncode, done.stdout + done.stderr, told


def change(root: Path, name: str, times: int) -> None:
    path = root / "src" / "words" / "__init__.py"
    path.write_text(path.read_text() + _SLOW.format(name=name, times=times))


def test_what_got_slower_is_told_and_the_rest_is_kept(words: Path, scratch: Path) -> None:
    change(words, "tokens", 3)  # which counts and index call too
    status, said, found = pairs(words, scratch, "-k", "tokens or wrap", f"--pairs-markdown={words.parent / 'told.md'}")
    assert status == 1
    assert (found["test_tokens"]["answer"], found["test_wrap"]["answer"]) == ("slower", "kept")
    assert 2 < found["test_tokens"]["ratio"]["median"] < 4.5
    assert found["test_tokens"]["ratio"]["measured"] >= 2
    assert "1 slower, 1 kept" in said
    text = (words.parent / "told.md").read_text()
    assert text.startswith("### pairs: 2 benchmarks against ")
    assert "- **slower**: `tests/bench_words.py::test_tokens`" in text
    assert git(words, "status", "--short").split() == ["M", "src/words/__init__.py"]
    assert git(words, "worktree", "list").count("\n") == 1


def test_calls_and_memory_are_told_beside_time(words: Path, scratch: Path) -> None:
    change(words, "wrap", 2)
    path = words / "src" / "words" / "__init__.py"
    path.write_text(
        path.read_text() + "\n\ndef dump(table):\n    held = [list(range(200_000))]\n    return json.dumps(table)\n"
    )
    _, _, found = pairs(words, scratch, "-k", "wrap or dump")
    counts = found["test_wrap"]["counts"]
    assert 1.8 < counts["change"]["calls"] / counts["base"]["calls"] < 2.2
    counts = found["test_dump"]["counts"]
    assert counts["change"]["peak"] - counts["base"]["peak"] > 1_000_000


def test_allocations_are_told_and_fail_nothing(tmp_path: Path, scratch: Path) -> None:
    root = tmp_path / "arrays"
    shutil.copytree(SUITES / "arrays", root)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "base")
    path = root / "arrays" / "__init__.py"
    more = "\n\n_plain = load\n\n\ndef load(path):\n    [np.empty(9) for _ in range(30)]\n    return _plain(path)\n"
    path.write_text(path.read_text() + more)
    status, said, found = pairs(root, scratch, "-k", "load")
    counts = found["test_load"]["counts"]
    assert counts["change"]["allocations"] - counts["base"]["allocations"] == 30
    assert f"allocations {counts['base']['allocations']} -> " in said
    assert (status, found["test_load"]["answer"]) == (0, "kept")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import pytest\n\n\ndef test_wrap(benchmark):\n    pytest.skip('no time')\n", "skipped: no time"),
        ("def test_wrap(benchmark):\n    assert 1 > 2, 'wrong'\n", "failed: AssertionError: wrong"),
        (
            "def test_wrap(benchmark):\n    assert benchmark(len, 'abc') == 2\n",
            "failed: AssertionError: assert 3 == 2",
        ),
        ("def test_wrap(benchmark):\n    pass\n", "it does not call benchmark"),
        (
            "import pytest\n\n\n@pytest.mark.xfail(reason='not yet\\nready')\ndef test_wrap(benchmark):\n    assert 1 > 2\n",
            "failed, as xfail expects: not yet",
        ),
        ("def test_other(benchmark):\n    benchmark(len, 'abc')\n", "only the base has it"),
        (
            "import os\n\n\ndef test_wrap(benchmark):\n    benchmark(os._exit, 3)\n",
            "the process ended with status 3",
        ),
        ("def test_wrap(benchmark):\n    benchmark(len, '')\n    benchmark(len, '')\n", "called twice"),
    ],
)
def test_what_is_not_measured_is_said_and_is_no_success(words: Path, scratch: Path, text: str, why: str) -> None:
    file = words / "tests" / "bench_words.py"
    kept = file.read_text().partition("def test_wrap")[0]
    file.write_text(kept + text)
    status, _, found = pairs(words, scratch, "-k", "wrap or other")
    assert status == 1
    assert found["test_wrap"]["answer"] == "measured nothing"
    assert why in found["test_wrap"]["note"]
    assert "\n" not in found["test_wrap"]["note"]
    assert {"test_other"} & found.keys() == ({"test_other"} if "other" in text else set())
    assert all(found[name]["answer"] == "new" for name in found if name == "test_other")


def test_tests_of_the_tree_run_over_the_package_of_the_base_too(words: Path, scratch: Path) -> None:
    tests = words / "tests" / "bench_words.py"
    tests.write_text(tests.read_text() + "\n\ndef test_all(benchmark):\n    assert benchmark(words.tokens, TEXT)\n")
    git(words, "rm", "--quiet", "--cached", "tests/bench_words.py")
    git(words, "commit", "--quiet", "--message", "without tests")
    change(words, "tokens", 3)
    status, said, found = pairs(words, scratch, "-k", "tokens or all or wrap", "--pairs-tests", "here")
    answers = {name: one["answer"] for name, one in found.items()}
    assert answers == {"test_tokens": "slower", "test_all": "slower", "test_wrap": "kept"}, said
    assert status == 1


def test_only_the_named_packages_are_those_of_each_side(words: Path, scratch: Path) -> None:
    (words / "helper.py").write_text("from time import sleep\n\n\ndef wait():\n    sleep(0.002)\n")
    tests = words / "tests" / "bench_words.py"
    tests.write_text(tests.read_text() + "\n\ndef test_wait(benchmark):\n    import helper\n\n    benchmark(helper.wait)\n")
    git(words, "add", "--all")
    git(words, "commit", "--quiet", "--message", "helper")
    (words / "helper.py").write_text("from time import sleep\n\n\ndef wait():\n    sleep(0.008)\n")
    change(words, "wrap", 1)
    chosen = ("-k", "test_wait", "--pairs-tests=here")
    assert pairs(words, scratch, *chosen)[2]["test_wait"]["answer"] == "slower"
    assert pairs(words, scratch, *chosen, "--pairs-package=words")[2]["test_wait"]["answer"] == "kept"


def test_where_the_package_is_the_same_nothing_is_timed_and_what_vanished_is_told(words: Path, scratch: Path) -> None:
    tests = words / "tests" / "bench_words.py"
    tests.write_text(tests.read_text().partition("def test_wrap")[0])
    status, said, found = pairs(words, scratch, "--pairs-tests=here", "-k", "tokens or wrap")
    assert "pairs: nothing to time: words is the same on both sides" in said
    assert {name: one["answer"] for name, one in found.items()} == {"test_wrap": "measured nothing"}
    assert (status, "--pairs-gone" in found["test_wrap"]["note"]) == (1, True)
    status, _, found = pairs(words, scratch, "--pairs-tests=here", "-k", "tokens or wrap", "--pairs-gone", "test_wrap")
    assert (status, found) == (0, {})


def test_only_tests_that_a_change_reaches_are_measured_where_asked(words: Path, scratch: Path) -> None:
    (words / "tests" / "bench_other.py").write_text("def test_other(benchmark):\n    benchmark(sorted, range(1000))\n")
    git(words, "add", "--all")
    git(words, "commit", "--quiet", "--message", "more")
    change(words, "dump", 1)
    _, _, found = pairs(words, scratch, "--pairs-touched", "-k", "dump or other")
    assert found.keys() == {"test_dump"}
    git(words, "checkout", "--quiet", "--", ".")
    status, said, found = pairs(words, scratch, "--pairs-touched")
    assert (status, found) == (0, {})
    assert "nothing that was changed is reached by a benchmark" in said


def test_the_floor_is_that_of_the_same_code(words: Path, scratch: Path) -> None:
    change(words, "dump", 50)
    status, said, found = pairs(words, scratch, "--pairs-floor", "-k", "dump")
    assert status == 0
    assert 0.5 < found["test_dump"]["ratio"]["median"] < 2
    assert "floor: medians of the same code from" in said


def test_fixtures_classes_parameters_and_setups_are_those_of_the_suite(tmp_path: Path, scratch: Path) -> None:
    for suite, asked in (("arrays", "top or load or correlations"), ("layers", "augment or step")):
        root = tmp_path / suite
        shutil.copytree(SUITES / suite, root)
        git(root, "init", "--quiet")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", "base")
        _, said, found = pairs(root, scratch, "-k", asked)
        assert len(found) == (4 if suite == "arrays" else 2), said
        assert {one["note"] for one in found.values()} == {""}, said
        assert all(one["ratio"]["pairs"] >= 5 for one in found.values())


@pytest.mark.parametrize(
    ("base", "arguments", "message"),
    [
        ("nowhere", (), "expected a commit, branch or tag to compare with; found 'nowhere'"),
        ("HEAD", ("-k", "nothing_of_that_name"), "expected tests that use the fixture benchmark; found none"),
        ("HEAD", ("--pairs-package=words",), "expected --pairs-tests here beside --pairs-package; found words"),
        ("HEAD", ("--pairs-tests=here", "--pairs-package=other"), "found none called other"),
        ("HEAD", ("--pairs-threads=0",), "threads, a core each; found 0"),
        ("HEAD", ("--pairs-seconds=0",), "expected seconds above 0 for a measurement; found 0"),
    ],
)
def test_a_wrong_argument_is_one_line(words: Path, scratch: Path, base: str, arguments: tuple[str, ...], message: str) -> None:
    status, said, found = pairs(words, scratch, *arguments, base=base)
    assert status == 4
    assert message in said
    assert "Traceback" not in said
    assert found == {}


def test_a_base_whose_tests_cannot_be_imported_is_one_line(words: Path, scratch: Path) -> None:
    file = words / "tests" / "bench_words.py"
    good = file.read_text()
    file.write_text("import nothing_of_that_name\n")
    git(words, "commit", "--quiet", "--all", "--message", "broken")
    file.write_text(good)
    status, said, _ = pairs(words, scratch)
    assert status == 4
    assert "expected tests of the base that can be imported; found tests/bench_words.py" in said
    assert "No module named 'nothing_of_that_name'" in said


def test_outside_of_a_repository_it_is_said(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "test_one.py").write_text("def test_one(benchmark):\n    benchmark(len, '')\n")
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    done = subprocess.run(
        command("--pairs", "HEAD"), cwd=tmp_path / "alone", capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 4
    assert "expected a git repository; found none around" in done.stdout + done.stderr


def test_ctrl_c_stops_the_workers_and_leaves_nothing(words: Path, scratch: Path) -> None:
    file = words / "tests" / "bench_words.py"
    file.write_text(file.read_text() + _SLEEPS)
    git(words, "commit", "--quiet", "--all", "--message", "slow")
    running = subprocess.Popen(
        command("--pairs=HEAD", "-k", "slow", "--pairs-seconds=100"),
        cwd=words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(scratch)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not (words / "here").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 2
    assert b"KeyboardInterrupt" in said
    assert list(scratch.iterdir()) == []


def test_without_a_base_the_plugin_loads_nothing() -> None:
    code = "import sys, lora_perf_pairs; print(sorted(n for n in sys.modules if n in ('torch', 'numpy', 'datasets')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
