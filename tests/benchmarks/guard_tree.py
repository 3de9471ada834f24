"""A small repository in the form of this one, whose package imports nothing heavy and whose workloads take milliseconds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import benchmarks

_BENCHMARKS = Path(benchmarks.__file__).parent
_PACKAGE = Path(benchmarks.__file__).parents[1] / "lora_perf"
_COPIED = (
    *("table.py", "corpora.py", "surface.py", "closing.py", "measure.py"),
    *("suite/__init__.py", "suite/today.py", "guard", "../tests/perf/conftest.py", "../tests/perf/test_workloads.py"),
)
# Of the package, by the guard itself.
_NEEDED = ("core/errors.py", "core/text.py", "core/tables.py", "command/about.py", "command/status.py", "pairs/*.py")

_SPIN = """
def spin():
    total = 0
    for i in range({loops}):
        total += i
    return {loops}
"""

_WORKLOADS = """
import os
import tempfile
from pathlib import Path
from benchmarks.table import Case, workload

def check(found):
    assert found == {loops}, "wrong sum"

@workload("fake", "small")
def spinning(scale):
    import lora_perf.work
    tempfile.mkdtemp()  # and no word of removing it
    if "GUARD_TEST_PIDS" in os.environ:
        (Path(os.environ["GUARD_TEST_PIDS"]) / str(os.getpid())).touch()
    return Case(lora_perf.work.spin, check, 1)

@workload("fake", "small")
def sleeping(scale):
    import lora_perf.work
    return Case(lora_perf.work.wait, lambda found: None, 1)
"""

_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--scale", default="small")
"""

LOOPS = 60_000  # some milliseconds


class Tree:
    """The repository; what is written to it is the change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in _COPIED:
            source, target = _BENCHMARKS / name, root / "benchmarks" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
        self.write("benchmarks/__init__.py", "")
        self.write("benchmarks/stages/__init__.py", "")
        self.write("benchmarks/workloads.py", "from benchmarks.stages import fake\nfrom benchmarks.table import TABLE\n")
        self.write("benchmarks/stages/fake.py", _WORKLOADS.format(loops=LOOPS))
        self.write("tests/conftest.py", _CONFTEST)
        self.write("lora_perf/__init__.py", "from lora_perf.core.errors import LoraPerfError\n")
        needed = [path for name in _NEEDED for path in sorted(_PACKAGE.glob(name))]
        for path in needed:
            self.write(f"lora_perf/{path.relative_to(_PACKAGE)}", path.read_text())
        self.work()
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def work(self, times: float = 1.0, wait: float = 0.005, result: str = "{loops}") -> None:
        """Writes the work of both workloads."""
        spin = _SPIN.replace("return {loops}", f"return {result}").format(loops=LOOPS)
        spin = spin.replace(f"range({LOOPS})", f"range({int(times * LOOPS)})")
        self.write("lora_perf/work.py", f"import time\n{spin}\ndef wait():\n    time.sleep({wait})\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *arguments: str) -> str:
        settings = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *settings, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        """Commits everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A commit")
        return self.git("rev-parse", "HEAD")
