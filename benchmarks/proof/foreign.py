"""The plugin on suites of others: planted slowdowns that it must find, unchanged code of which it must say nothing.

    python -m benchmarks.proof.foreign --passes 10 --out foreign.json

Each of the three projects in `tests/pairs/suites` becomes a repository of its own. A slowdown makes one function take so many
times as long, by a clock that runs on after it; a null change adds a comment. Beside the verdict of `pytest --pairs` stands
that of pytest-benchmark's own comparison of a saved run with the next one (`--benchmark-compare-fail=median:10%`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpora import ROOT
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
    peers: bool = True
    """Ask pytest-benchmark's own comparison too."""


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
        record: dict[str, Any] = json.loads(config.out.read_text()) if config.out.exists() else {"planted": {}, "null": {}}
        with tempfile.TemporaryDirectory(prefix="lora_perf-foreign-") as folder:
            for suite, (source, functions) in FUNCTIONS.items():
                _prove(config, record, repository(suite, Path(folder)), suite, source, functions)
        print(summary(record))
        return 0

    return int(exit_status(work))


def _prove(config: Config, record: dict[str, Any], root: Path, suite: str, source: str, functions: dict[str, str]) -> None:
    path = root / source
    original = path.read_text()
    for function, test in functions.items():
        for factor in FACTORS:
            key = f"{suite} {function} {factor}"
            if key in record["planted"]:
                continue
            begin = time.monotonic()
            path.write_text(original + _SLOW.format(name=function, factor=factor))
            (found,) = [one for one in pairs(root, "-k", test) if test in one["test"]]
            said = peer(root, path, path.read_text(), test) if config.peers else None
            record["planted"][key] = {**found, "peer": said, "seconds": round(time.monotonic() - begin, 1)}
            config.out.write_text(json.dumps(record, indent=1))
            print(key, found["answer"], found["ratio"] and round(found["ratio"]["median"], 3), "peer", said, flush=True)
    for number in range(config.passes):
        key = f"{suite} {number}"
        if key not in record["null"]:
            path.write_text(f"{original}\n# {number}\n")
            record["null"][key] = pairs(root)
            config.out.write_text(json.dumps(record, indent=1))
            print(key, sum(one["answer"] == "slower" for one in record["null"][key]), "false", flush=True)
        if config.peers and key not in record.setdefault("same", {}):
            record["same"][key] = peer_of_same(root)
            config.out.write_text(json.dumps(record, indent=1))


def summary(record: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = ["| slowdown | planted | found by pairs | found by --benchmark-compare-fail |", "| --- | ---: | ---: | ---: |"]
    for factor in FACTORS:
        some = [one for key, one in record["planted"].items() if key.endswith(f" {factor}")]
        found, said = (sum(one) for one in zip(*[(one["answer"] == "slower", bool(one["peer"])) for one in some], strict=True))
        lines.append(f"| {factor:g}x | {len(some)} | {found} | {said} |")
    null = [one for each in record["null"].values() for one in each]
    false = sum(one["answer"] == "slower" for one in null)
    said = f"Of {len(null):,} comparisons of unchanged code {false} said slower."
    if same := record.get("same"):
        count = len(null) * len(same) // len(record["null"])
        said += f" Of {count:,} by --benchmark-compare-fail {sum(same.values())} did."
    return "\n".join([*lines, "", said])


if __name__ == "__main__":
    sys.exit(main())
