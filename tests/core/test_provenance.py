"""Which edits and which versions make numbers of another origin."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lora_perf
from lora_perf.core import provenance

VERSION = provenance.code_version.__wrapped__
FEATURES = [
    *(
        "representations/streaming.py",
        "core/features.py",
        "core/layout.py",
        "core/threads.py",
        "core/zoo.py",
        "representations/__init__.py",
    ),
    *(
        "representations/registry.py",
        "representations/kinds.py",
        "representations/door.py",
        "representations/factors/spectral.py",
        "representations/stacks.py",
        "representations/updates/sketch.py",
    ),
]
LEARNED = [
    "representations/learned/fitting.py",
    "representations/learned/pca.py",
    "representations/learned/task.py",
    "core/features.py",
    "core/layout.py",
    "core/zoo.py",
]
CELLS = [
    *FEATURES,
    *LEARNED,
    *(
        "classifiers/standardise.py",
        "core/split.py",
        "classifiers/perceptron/network.py",
        "classifiers/perceptron/epochs.py",
        "classifiers/perceptron/training.py",
        "classifiers/perceptron/runs.py",
        "classifiers/probes.py",
        "classifiers/metrics.py",
    ),
    *("experiment/training.py", "experiment/inputs.py", "report/cells.py", "experiment/controls.py", "io/files/folder.py"),
]
SHOWN = [
    *(
        "report/summary.py",
        *(
            "report/page.py",
            "report/findings.py",
            "report/comparisons.py",
            "report/drawings.py",
            "core/pages.py",
            "diagnose/page.py",
        ),
        "report/figures.py",
        "report/compare.py",
        *("inspect/pages.py", "inspect/html.py", "audit/pages.py", "audit/html.py", "core/charts.py"),
        "command/status.py",
        "command/terminal.py",
        "core/text.py",
    ),
    *("experiment/console.py", "experiment/__main__.py", "experiment/forecast.py", "zoos/digits.py"),
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's sources."""
    copy = tmp_path / "lora_perf"
    ignored = shutil.ignore_patterns("data", "__pycache__")
    shutil.copytree(Path(lora_perf.__file__).parent, copy, ignore=ignored)
    monkeypatch.setattr(provenance, "_PACKAGE", copy)
    return copy


def edited(path: Path, part: str, before: str) -> bool:
    """Whether another byte at the end of a file makes another version of a part."""
    content = path.read_bytes()
    path.write_bytes(content + b"#")
    try:
        return bool(VERSION(part) != before)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(("part", "files"), [("representations/streaming.py", [*FEATURES, *LEARNED]), ("", CELLS)])
def test_a_byte_of_whatever_shapes_a_value_is_another_version(part: str, files: list[str], package: Path) -> None:
    before = VERSION(part)
    assert VERSION(part) == before
    assert [name for name in files if not edited(package / name, part, before)] == []


@pytest.mark.parametrize("part", ["representations/streaming.py", ""])
def test_what_only_shows_results_is_no_other_version(part: str, package: Path) -> None:
    before = VERSION(part)
    assert [name for name in SHOWN if edited(package / name, part, before)] == []


@pytest.mark.parametrize(
    ("part", "other"),
    [("representations/streaming.py", "classifiers/probes.py"), ("representations/streaming.py", "io/files/folder.py")],
)
def test_features_do_not_depend_on_what_comes_before_or_after_them(part: str, other: str, package: Path) -> None:
    assert not edited(package / other, part, VERSION(part))


@pytest.mark.parametrize("part", ["representations/streaming.py", ""])
@pytest.mark.parametrize("library", ["numpy", "scipy", "scikit-learn"])
def test_another_version_of_a_library_that_computes_is_another_version(
    part: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version: Callable[[str], str] = importlib.metadata.version
    before = VERSION(part)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == library else version(name))
    assert VERSION(part) != before


def test_another_build_of_torch_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = VERSION("representations/streaming.py")
    monkeypatch.setattr("torch.__version__", "99.0+cpu")
    assert VERSION("representations/streaming.py") != before


def test_imports_are_followed_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "start.py": "from lora_perf import one\ndef f():\n    import lora_perf.room.two\n",
        "one.py": "from lora_perf.three import name\nfrom . import nothing\nimport os\n",
        "room/__init__.py": "x = 1\n",
        "room/two.py": "",
        "three.py": "from lora_perf.start import f\n",
        "other.py": "",
    }
    package = tmp_path / "lora_perf"
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    found = [path.relative_to(package).as_posix() for path in provenance._closure("start.py")]
    assert found == ["one.py", "room/__init__.py", "room/two.py", "start.py", "three.py"]
