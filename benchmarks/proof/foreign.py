"""The plugin on suites of others: planted slowdowns that it must find, unchanged code of which it must say nothing.

    python -m benchmarks.proof.foreign --passes 10 --out foreign.json

Each of the three projects in `tests/pairs/suites` becomes a repository of its own. A slowdown makes one function take so many
times as long, by a clock that runs on after it; a null change adds a comment. Beside the verdict of `pytest --pairs` stand
that of pytest-benchmark's own comparison of a saved run with the next one (`--benchmark-compare-fail=median:10%`) and that of
`asv continuous`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.corpora import ROOT
from benchmarks.proof.continuous import Continuous
from benchmarks.surface import exit_status, parsed

SUITES = ROOT / "tests" / "pairs" / "suites"
FACTORS = (1.15, 1.25, 1.5, 2.0)
# Suite -> its source, and the functions to slow down with the benchmark that calls each.
FUNCTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "arrays": (
        "arrays/__init__.py",
        {"normalise": "test_normalise", "distances": "test_distances", "histogram": "test_histogram", "load": "test_load",
         "correlations": "test_correlations"},
    ),
    "layers": (
        "layers/__init__.py",
        {"step": "test_step", "attention": "test_attention", "accuracy": "test_accuracy", "collate": "test_collate",
         "augment": "test_augment"},
    ),
    "words": (
        "src/words/__init__.py",
        {"tokens": "test_tokens", "index": "test_index", "distance": "test_distance", "wrap": "test_wrap", "dump": "test_dump"},
    ),
}  # fmt: skip
# The other benchmarks of each, of which only unchanged code is compared.
OTHERS = {
    "arrays": ("test_running_mean", "test_top[10]", "test_top[1000]"),
    "layers": ("test_forward",),
    "words": ("test_counts",),
}
WAYS = {"pairs": "pairs", "saved": "--benchmark-compare-fail", "asv": "asv continuous"}
Record = dict[str, dict[str, dict[str, Any]]]
_SLOW = """

def _slowed(function, factor):
    import time

    def slow(*arguments, **named):
        begin = time.perf_counter()
        result = function(*arguments, **named)
        end = begin + factor * (time.perf_counter() - begin)
        while time.perf_counter() < end:
            pass
        return result

    return slow


{name} = _slowed({name}, {factor})
"""


@dataclass(frozen=True)
class Config:
    """Planted slowdowns of 1.15 to 2 times and unchanged code, on three suites that know nothing of this package."""

    out: Path
    """File of what was found, *.json; what is in it is not measured again."""
    passes: int = 10
    """Times that each whole suite is compared with itself."""
    by: tuple[Literal["pairs", "saved", "asv"], ...] = ("pairs", "saved", "asv")
    """Who is asked: the plugin, pytest-benchmark's own comparison, `asv continuous`."""
    factors: tuple[float, ...] = FACTORS
    """How many times as long a function takes."""


def repository(suite: str, folder: Path) -> Path:
    """The project in a repository of its own."""
    root = folder / suite
    shutil.copytree(SUITES / suite, root)
    settings = ["-c", "user.name=Proof", "-c", "user.email=proof@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "base"]):
        subprocess.run(["git", *settings, *words], cwd=root, check=True)
    return root


def _pytest(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def pairs(root: Path, *words: str) -> list[dict[str, Any]]:
    """What `pytest --pairs HEAD` finds of the tree."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        done = _pytest(root, "-p", "lora_perf_pairs", "--pairs=HEAD", f"--pairs-json={path}", *words)
        if not path.exists():
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        found: list[dict[str, Any]] = json.loads(path.read_text())["tests"]
        return found


def peer(root: Path, source: Path, changed: str, test: str) -> bool:
    """Whether pytest-benchmark says that the change is slower: base saved, then the change compared with it."""
    after = source.read_text()
    subprocess.run(["git", "checkout", "--quiet", "--", "."], cwd=root, check=True)
    storage = f"--benchmark-storage={root / '.saved'}"
    words = ("-k", test, "--benchmark-only", storage)
    _pytest(root, *words, "--benchmark-save=base")
    source.write_text(changed)
    done = _pytest(root, *words, "--benchmark-compare=0001", "--benchmark-compare-fail=median:10%")
    shutil.rmtree(root / ".saved", ignore_errors=True)
    source.write_text(after)
    return done.returncode != 0


def peer_of_same(root: Path) -> int:
    """How many benchmarks pytest-benchmark says got slower between two runs of the same code."""
    storage = f"--benchmark-storage={root / '.saved'}"
    _pytest(root, "--benchmark-only", storage, "--benchmark-save=base")
    done = _pytest(root, "--benchmark-only", storage, "--benchmark-compare=0001", "--benchmark-compare-fail=median:10%")
    shutil.rmtree(root / ".saved", ignore_errors=True)
    return (done.stdout + done.stderr).count("has failed PercentageRegressionCheck")


def main() -> int:
    """The command line."""

    def work() -> int:
        config = parsed(Config, None, "python -m benchmarks.proof.foreign")
        record: Record = json.loads(config.out.read_text()) if config.out.exists() else {"planted": {}, "null": {}}
        with tempfile.TemporaryDirectory(prefix="lora_perf-foreign-") as folder:
            for suite in FUNCTIONS:
                _prove(config, record, suite, Path(folder))
        print(summary(record))
        return 0

    return int(exit_status(work))


def _prove(config: Config, record: Record, suite: str, folder: Path) -> None:
    source, functions = FUNCTIONS[suite]
    tests = [*functions.values(), *OTHERS[suite]]
    root = repository(suite, folder)
    path = root / source
    original = path.read_text()
    continuous = Continuous(root, suite, str(Path(source).parent), tests) if "asv" in config.by else None

    def asv(*tests: str) -> list[str]:
        assert continuous is not None
        return continuous.slower(*tests)

    def of_pairs(test: str) -> bool:
        (found,) = [one for one in pairs(root, "-k", test) if test in one["test"]]
        return bool(found["answer"] == "slower")

    def ask(part: str, key: str, by: str, call: Callable[[], Any]) -> None:
        entry = record[part].setdefault(key, {})
        if by not in entry:
            begin = time.monotonic()
            entry[by] = call()
            entry[f"{by} seconds"] = round(time.monotonic() - begin, 1)
            config.out.write_text(json.dumps(record, indent=1))
            print(key, by, entry[by], flush=True)

    planted: dict[str, Callable[[str], bool]] = {
        "pairs": of_pairs,
        "saved": lambda test: peer(root, path, path.read_text(), test),
        "asv": lambda test: asv(test) == [test],
    }
    null: dict[str, Callable[[], int]] = {
        "pairs": lambda: sum(one["answer"] == "slower" for one in pairs(root)),
        "saved": lambda: peer_of_same(root),
        "asv": lambda: len(asv(*tests)),
    }
    for function, test in functions.items():
        for factor in config.factors:
            path.write_text(original + _SLOW.format(name=function, factor=factor))
            for by in config.by:
                ask("planted", f"{suite} {function} {factor}", by, partial(planted[by], test))
    for number in range(config.passes):
        path.write_text(f"{original}\n# {number}\n")
        for by in config.by:
            ask("null", f"{suite} {number}", by, null[by])


def summary(record: Record) -> str:
    """The table in Markdown."""
    ways = [by for by in WAYS if any(by in one for part in record.values() for one in part.values())]
    lines = [f"| slowdown | {' | '.join(f'found by {WAYS[by]}' for by in ways)} |", f"| --- |{' ---: |' * len(ways)}"]
    for factor in sorted({key.rpartition(" ")[2] for key in record["planted"]}, key=float):
        some = [one for key, one in record["planted"].items() if key.endswith(f" {factor}")]
        cells = [f"{sum(one.get(by, False) for one in some)} of {sum(by in one for one in some)}" for by in ways]
        lines.append(f"| {float(factor):g}x | {' | '.join(cells)} |")
    lines.append("")
    for by in ways:
        runs = [(key.partition(" ")[0], one[by]) for key, one in record["null"].items() if by in one]
        count = sum(len(FUNCTIONS[suite][1]) + len(OTHERS[suite]) for suite, _ in runs)
        lines.append(f"{WAYS[by]}: slower {sum(one for _, one in runs)} times in {count:,} comparisons of unchanged code")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
