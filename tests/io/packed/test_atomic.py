"""Files that are whole or not there, what dead processes leave, and who may write to a folder."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.io import atomic
from lora_perf.io.atomic import check_writable, replacing, replacing_folder, sweep
from lora_perf.io.claims import LOCK, claim

# The children of these tests call nothing that threads of the parent could have locked.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
UNNAMED = atomic._open_unnamed(Path("/tmp")) is not None


@pytest.fixture(params=["unnamed", "named", "unlinkable"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs as on a file system with files without names, without them, and with such as cannot be given one."""
    monkeypatch.setattr(atomic, "_swept", set())
    if request.param == "named":
        monkeypatch.setattr(atomic, "_open_unnamed", lambda _: None)
    elif not UNNAMED:
        pytest.skip("this file system has no files without names")
    elif request.param == "unlinkable":
        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def put(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def test_a_file_takes_its_place_when_it_is_whole_with_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    put(path, b"old")
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new content")
        file.seek(0)  # the writer may go back
        file.write(b"NEW")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"NEW content"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert os.listdir(path.parent) == ["file"]


def test_the_longest_name_that_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    for content in (b"1", b"2"):
        put(path, content)
        assert path.read_bytes() == content
    with pytest.raises(LoraPerfError, match="found File name too long"):
        put(tmp_path / ("x" * 256), b"")


def test_a_pipe_or_a_link_in_the_place_is_replaced_and_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("target")
    for name in ("pipe", "link"):
        put(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
        assert stat.S_ISREG((tmp_path / name).lstat().st_mode)
    assert (tmp_path / "target").read_bytes() == b"kept"


def test_the_name_of_a_device_is_not_taken_away(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in ("/dev/null", tmp_path / "pipe"):
        link = tmp_path / "link"
        link.symlink_to(target)
        with pytest.raises(LoraPerfError, match="found a device, or a link to a device or a pipe"), replacing(link):
            pytest.fail("the body ran")
        assert link.is_symlink()
        link.unlink()


def test_a_folder_in_the_place_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(LoraPerfError, match="found Is a directory"), replacing(tmp_path / "taken"):
        pytest.fail("the body ran")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt("now"), "now"),
        (OSError(errno.ENOSPC, "No space left on device"), "expected a folder .* found No space left on device"),
        (ValueError("body"), "body"),
    ],
    ids=["interrupt", "full disk", "body"],
)
def test_what_ends_the_writing_leaves_the_old_file_and_nothing_else(error: BaseException, told: str, tmp_path: Path) -> None:
    put(tmp_path / "file", b"old")

    def fail() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    with pytest.raises(LoraPerfError if isinstance(error, OSError) else type(error), match=told):
        fail()
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_disk_that_fills_up_at_the_end_is_one_line(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "file", b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(LoraPerfError, match=r"a folder that can be written for .*file; found No space left on device"):
        put(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_goes_while_a_file_is_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match="found No such file or directory"), replacing(tmp_path / "gone" / "file"):
        shutil.rmtree(tmp_path / "gone")


def _write_and_wait(folder: Path, named: bool, pipe: Any) -> None:
    if named:
        atomic._open_unnamed = lambda _: None
    with replacing(folder / "file") as file, replacing_folder(folder / "folder") as inner:
        file.write(b"half")
        file.flush()
        (inner / "half").touch()
        pipe.send("writing")
        pipe.recv()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_leaves_is_gone_with_it_or_removed_by_the_next(number: int, way: str, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=_write_and_wait, args=(tmp_path, way == "named", there))
    process.start()
    assert here.recv() == "writing"
    sweep(tmp_path)
    left = os.listdir(tmp_path)
    assert len(left) == (2 if way == "named" else 1), "what is being written was touched"
    os.kill(process.pid or 0, number)
    process.join()
    put(tmp_path / "another", b"")
    assert os.listdir(tmp_path) == ["another"]


def test_only_leftovers_of_this_package_are_removed(tmp_path: Path) -> None:
    others = ["a.part", ".part", ".a.part", ".a.ABCDEFGH.part", ".a.12345678.parts", "a.12345678.part", ".a.123.part"]
    for name in [*others, ".a.1234abcd.part", ".zoo.safetensors._x9ab1_2.part"]:
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / ".a.abcdabcd.part")
    (tmp_path / ".b.abcdabcd.part").symlink_to(tmp_path / "a.part")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, ".a.abcdabcd.part", ".b.abcdabcd.part"])


def test_without_locks_leftovers_are_known_by_a_day_without_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    old, young = tmp_path / ".a.11111111.part", tmp_path / ".a.22222222.part"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    put(tmp_path / "file", b"content")
    assert sorted(os.listdir(tmp_path)) == [young.name, "file"]
    with claim(tmp_path), claim(tmp_path):  # nobody can be kept out
        pass


def test_a_folder_is_claimed_by_one_at_a_time_who_is_named(tmp_path: Path) -> None:
    told = (
        rf"one run at a time that writes to {re.escape(str(tmp_path))}; found another one \(process {os.getpid()} on .* since "
    )
    with claim(tmp_path):
        with pytest.raises(LoraPerfError, match=told + r".*--output-dir"), claim(tmp_path):
            pytest.fail("claimed twice")
        with claim(tmp_path / "other"):
            pass
    with claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["other"]


def test_a_claim_ends_with_its_body_or_its_process_whatever_ends_them(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on another machine since yesterday")
    with pytest.raises(KeyboardInterrupt), claim(tmp_path):
        raise KeyboardInterrupt
    with claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_what_stands_in_the_place_of_the_lock_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "a" / LOCK)
    (tmp_path / "b" / LOCK).mkdir()
    with claim(tmp_path / "a"):
        pass
    with pytest.raises(LoraPerfError, match=r"written for .*\.lock; found Is a directory"), claim(tmp_path / "b"):
        pytest.fail("claimed")


def _check(folder: Path) -> None:
    for _ in range(50):
        check_writable(folder)


def _claim_and_count(folder: Path) -> None:
    for _ in range(30):
        try:
            with claim(folder):
                os.mkdir(folder / "alone")
                os.rmdir(folder / "alone")
        except LoraPerfError:
            pass


@pytest.mark.parametrize(("work", "name"), [(_check, "new/folder"), (_claim_and_count, "")])
def test_any_number_of_processes_may_check_a_folder_and_never_two_hold_it_at_once(
    work: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(tmp_path / name,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert os.listdir(tmp_path / name) == []


def test_a_folder_is_there_when_it_was_filled_to_its_end(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "folder") as inner:
        (inner / "file").touch()
        assert not (tmp_path / "folder").exists()
    assert os.listdir(tmp_path / "folder") == ["file"]

    def fail() -> None:
        with replacing_folder(tmp_path / "other") as inner:
            (inner / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == ["folder"]
