"""What the machine leaves: memory under its limits, room on a disk, how busy it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_perf.core import resources
from lora_perf.core.resources import disk_left, memory_left, pressure


def _groups(folder: Path, limit: str, used: str, inactive: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of control groups in which a job of a user has a limit."""
    old = name == "memory"
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    for group, most in ((folder / "user", limit), (folder / "user/job", "max" if not old else str(1 << 62))):
        group.mkdir(parents=True)
        for file, text in zip(files, (most, used), strict=True):
            (group / file).write_text(text + "\n")
        (group / "memory.stat").write_text(f"cache 5\n{'total_inactive_file' if old else 'inactive_file'} {inactive}\n")
    (folder / "own").write_text(f"4:{name}:/user/job\n2:cpu:/elsewhere\n")
    old_version, new_version = resources._VERSIONS
    monkeypatch.setattr(resources, "_VERSIONS", ((folder, *old_version[1:]), (folder, *new_version[1:])))
    monkeypatch.setattr(resources, "_CGROUPS", folder / "own")


@pytest.mark.parametrize("name", ["memory", ""])
def test_the_limit_of_a_control_group_above_counts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _groups(tmp_path, "1000", "700", "50", name, monkeypatch)
    assert memory_left() == 350


def test_what_is_used_already_beyond_a_limit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _groups(tmp_path, "1000", "1200", "50", "memory", monkeypatch)
    assert memory_left() == 0


def test_files_that_cannot_be_read_limit_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _groups(tmp_path, "a lot", "700", "50", "memory", monkeypatch)
    assert memory_left() > 1000


def test_the_limit_of_a_shell_counts() -> None:
    program = (
        "from lora_perf.core.resources import memory_left; import resource; from lora_perf.core.resources import _status\n"
    )
    program += "resource.setrlimit(resource.RLIMIT_AS, (_status('VmSize') + (64 << 20), resource.RLIM_INFINITY))\n"
    program += "print(memory_left())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 0 < int(said) <= 64 << 20


def test_room_on_a_disk_is_known_before_a_folder_is_made(tmp_path: Path) -> None:
    assert 0 < disk_left(tmp_path / "a" / "b" / "file") <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


def test_a_stolen_tenth_or_a_crowd_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(resources, "_STAT", stat)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))

    def tell(stolen: int) -> None:
        stat.write_text(f"cpu  100 0 0 {1000 - stolen} 0 0 0 {stolen} 0 0\n")

    tell(0)
    quiet = pressure(lambda: stat.write_text("cpu  150 0 0 1050 0 0 0 0 0 0\n"))
    assert (quiet.stolen, quiet.busy) == (0, False)
    tell(0)
    taken = pressure(lambda: stat.write_text("cpu  150 0 0 1030 0 0 0 20 0 0\n"))
    assert (taken.stolen, taken.busy) == (0.2, True)
    monkeypatch.setattr(os, "getloadavg", lambda: (taken.cores + 1.0, 0.5, 0.5))
    assert pressure(lambda: None).busy


def test_a_system_without_such_files_is_not_said_to_be_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_STAT", tmp_path / "none")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert not pressure(lambda: None).busy
