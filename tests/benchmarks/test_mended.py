"""The table of what an advice gains: pairs of programs, the same results, and no table where they differ."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import mended
from benchmarks.measure import Spread
from benchmarks.mended import Gain, MendedConfig, table

SLOW = "import helper\nprint(helper.total([1.5] * 100))\n"
QUICK = "print(150.0)\n"
HELPER = "def total(values):\n    return sum(values)  # FAULT list to tensor\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program with its twin, a module that it imports, and a program without a twin."""
    files = {"slow.py": SLOW, "slow_mended.py": QUICK, "helper.py": HELPER, "alone.py": QUICK}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(autouse=True)
def _helper_is_forgotten() -> object:
    yield
    sys.modules.pop("helper", None)


def test_programs_with_a_twin_are_found(folder: Path) -> None:
    assert mended.names(folder) == ["slow"]


def test_a_folder_without_twins_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="has a twin"):
        mended.names(tmp_path)


def test_every_fault_of_the_programs_of_diagnose_is_timed() -> None:
    found = mended.names(mended.PROGRAMS)
    assert len(found) >= 29
    assert all(mended.kinds(name, mended.PROGRAMS) for name in found)


@pytest.mark.parametrize("whole", [False, True])
def test_a_pair_is_timed_in_turn(folder: Path, whole: bool) -> None:
    found = mended.gain("slow", MendedConfig(folder=folder, rounds=2, whole=whole))
    assert (found.name, found.kinds) == ("slow", ("list to tensor",))
    assert (found.faulty.rounds, found.mended.rounds, found.times.rounds) == (2, 2, 2)
    assert found.faulty.low > 0


@pytest.mark.parametrize("whole", [False, True])
def test_another_result_is_not_timed(folder: Path, whole: bool) -> None:
    (folder / "slow_mended.py").write_text("print(151.0)\n")
    with pytest.raises(AssertionError, match="the same was to be printed"):
        mended.gain("slow", MendedConfig(folder=folder, rounds=1, whole=whole))


@pytest.mark.parametrize("whole", [False, True])
def test_silence_is_no_result(folder: Path, whole: bool) -> None:
    for name in ("slow", "slow_mended"):
        (folder / f"{name}.py").write_text("x = 1\n")
    with pytest.raises(AssertionError, match="the same was to be printed"):
        mended.gain("slow", MendedConfig(folder=folder, rounds=1, whole=whole))


def test_a_process_that_fails_is_told_with_its_error(folder: Path) -> None:
    (folder / "slow.py").write_text("raise ValueError('no data')\n")
    with pytest.raises(AssertionError, match=r"slow\.py failed: .*no data"):
        mended.gain("slow", MendedConfig(folder=folder, rounds=1, whole=True))


@pytest.mark.parametrize("whole", [False, True])
def test_programs_are_given_their_arguments_and_leave_no_files(folder: Path, whole: bool) -> None:
    text = "import sys, tempfile\nopen(sys.argv[1], 'w').write(tempfile.mkdtemp())\nprint(sys.argv[2:])\n"
    for name in ("slow", "slow_mended"):
        (folder / f"{name}.py").write_text(text)
    before = tempfile.gettempdir(), sys.argv, sys.path[:]
    config = MendedConfig(folder=folder, rounds=1, whole=whole, arguments=(str(folder / "told"), "--data"))
    assert mended.gain("slow", config).times.rounds == 1
    assert (tempfile.gettempdir(), sys.argv, sys.path) == before
    made = Path((folder / "told").read_text())
    assert made.name.startswith("tmp")
    assert not made.exists()


def test_the_table_has_medians_and_quartiles_and_the_largest_gain_first() -> None:
    second, tenth = Spread(0.25, 0.2, 0.5, 3), Spread(0.01, 0.0099, 0.0123, 3)
    gains = [
        Gain("less", ("float64",), second, second, Spread(1.0, 0.9, 1.1, 3)),
        Gain("more", ("to lists", "file read"), second, tenth, Spread(25.0, 24.0, 26.0, 3)),
    ]
    assert table(gains).splitlines()[2:] == [
        "| `more` | to lists, file read | 250 [200, 500] | 10.0 [9.90, 12.3] | 25.0 [24.0, 26.0] |",
        "| `less` | float64 | 250 [200, 500] | 250 [200, 500] | 1.00 [0.900, 1.10] |",
    ]


@pytest.mark.parametrize(("ratio", "status"), [(1.2, 0), (0.8, 1)])
def test_a_twin_that_is_no_faster_is_named(
    ratio: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spread = Spread.of([ratio])
    monkeypatch.setattr(mended, "gain", lambda name, _: Gain(name, ("float64",), spread, spread, spread))
    assert mended.main(MendedConfig(only=("a",))) == status
    assert ("No faster when mended: a." in capsys.readouterr().out) == bool(status)
