"""What `asv continuous` says of a change of a suite of others: its pytest benchmarks as benchmarks of asv, on two commits.

asv wants an environment that it can install commits into (one that exists takes no range of commits), so each project has a
virtualenv of asv's; what the project needs is found in the environment of this process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_CONFIG = {
    "version": 1,
    "repo": ".",
    "branches": ["main"],
    "environment_type": "virtualenv",
    "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"],
    "build_command": [],
    "benchmark_dir": "asv_benchmarks",
    "env_dir": ".asv/env",
    "results_dir": ".asv/results",
    "html_dir": ".asv/html",
}
_INSTALL = "import shutil, site; shutil.copytree('{source}', site.getsitepackages()[0] + '/{name}', dirs_exist_ok=True)"
_UNINSTALL = "import shutil, site; shutil.rmtree(site.getsitepackages()[0] + '/{name}', ignore_errors=True)"

# A benchmark of asv is the call of a test, which runs once to that end.
_BENCHMARKS = """
import os
import sys
from functools import cache
from pathlib import Path

ROOT = Path({root!r})
sys.path += {packages!r}


class Benchmark:
    def __init__(self, held):
        self._held = held

    def __call__(self, function, *arguments, **named):
        self._held.append(lambda: function(*arguments, **named))
        return function(*arguments, **named)

    def pedantic(self, target, args=(), kwargs=None, setup=None, **rounds):
        args, kwargs = (setup() if setup else None) or (args, kwargs or {{}})
        return self(target, *args, **kwargs)


@cache
def call_of(test):
    import pytest

    held = []

    class Plugin:
        @pytest.fixture
        def benchmark(self):
            return Benchmark(held)

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    words = ["-q", "-p", "no:cacheprovider", "-o", "pythonpath=", "-o", "addopts=", "--rootdir", str(ROOT)]
    status = pytest.main([*words, str(ROOT / "tests"), "-k", test], plugins=[Plugin()])
    package = sys.modules[{name!r}]
    assert Path(package.__file__).is_relative_to(sys.prefix), package.__file__
    assert status == 0 and len(held) == 1, (test, status, len(held))
    return held[0]


def timed(test):
    def setup():
        call_of(test)

    def run():
        call_of(test)()

    run.setup = setup
    run.__qualname__ = run.__name__ = "time_" + test
    run.version = "1"
    return run


globals().update({{"time_" + test: timed(test) for test in {tests!r}}})
"""


class Continuous:
    """`asv continuous` on a repository, whose working tree is the change.

    Args:
        root: of the repository, with one commit.
        name: of the package.
        source: its folder in the repository.
        tests: its benchmarks, each a name that `pytest -k` tells from the others.
    """

    def __init__(self, root: Path, name: str, source: str, tests: Iterable[str]) -> None:
        self._root = root
        self._home = tempfile.TemporaryDirectory(prefix="lora_perf-asv-")
        install = f'in-dir={{build_dir}} python -c "{_INSTALL.format(source=source, name=name)}"'
        uninstall = f'return-code=any python -c "{_UNINSTALL.format(name=name)}"'
        config = _CONFIG | {"project": name, "install_command": [install], "uninstall_command": [uninstall]}
        (root / "asv.conf.json").write_text(json.dumps(config))
        (root / "asv_benchmarks").mkdir()
        (root / "asv_benchmarks" / "__init__.py").touch()
        packages = [path for path in sys.path if path.endswith("site-packages")]
        work = _BENCHMARKS.format(root=str(root), name=name, tests=list(tests), packages=packages)
        (root / "asv_benchmarks" / "work.py").write_text(work)
        (root / ".git" / "info" / "exclude").write_text(".asv\nasv_benchmarks\nasv.conf.json\n")
        self._git("branch", "--move", "main")
        self._base = self._git("rev-parse", "HEAD")
        self._asv("machine", "--yes")

    def slower(self, *tests: str) -> list[str]:
        """The benchmarks of these tests that it says got slower by a tenth and more, from the first commit to the tree."""
        self._git("commit", "--quiet", "--all", "--message", "change")
        try:
            chosen = [word for test in tests for word in ("--bench", f"time_{re.escape(test)}$")]
            said = self._asv("continuous", "--show-stderr", "--factor", "1.1", *chosen, self._base, "HEAD")
        finally:
            self._git("reset", "--quiet", "--mixed", self._base)
        if "NOT SIGNIFICANTLY" not in said and "SOME BENCHMARKS HAVE CHANGED" not in said:
            raise RuntimeError(said[-3000:])
        slower = [line for line in said.splitlines() if line.startswith("| +")]
        return [line.rpartition("time_")[2].strip(" |") for line in slower]

    def _git(self, *words: str) -> str:
        settings = ["-c", "user.name=Proof", "-c", "user.email=proof@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *settings, *words], cwd=self._root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _asv(self, *words: str) -> str:
        environment = {**os.environ, "HOME": self._home.name, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "asv", *words]
        done = subprocess.run(command, cwd=self._root, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
