"""Files that are whole or not there: written under no name, then given one; leftovers are removed.

On Linux a file that is written has no name (O_TMPFILE) until it is whole, so that it vanishes with its process whatever ends
that: SIGKILL, SIGTERM, a crash. Where the file system has no such files it is called `.<name>.<8 characters>.part` and locked
while it is written; a `.part` that nobody locks was left by a dead process, and the next one that writes into its folder
removes it. A file is flushed to the disk before it gets its name, so that no crash of the machine leaves an empty one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lora_perf.core.errors import LoraPerfError

_PART = re.compile(r"\..+\.[0-9a-z_]{8}\.part", re.DOTALL)
_DAY = 86_400  # seconds without a change after which a `.part` counts as left behind where locks cannot be had
_swept: set[str] = set()  # folders in which this process looked for leftovers


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` only when it was written to its end."""
    with _replacing(path, _open_part) as (file, _):
        yield file


@contextmanager
def replacing_seen(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """The same, and the name under which other processes may write into it meanwhile."""
    with _replacing(path, _open_named) as (file, part):
        yield file, Path(part or path)


@contextmanager
def _replacing(path: Path, opened: Callable[[Path], tuple[int, str | None]]) -> Iterator[tuple[BinaryIO, str | None]]:
    part: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_impossible(path)
        _sweep_once(path.parent)
        descriptor, part = opened(path)
        with os.fdopen(descriptor, "w+b") as file:
            yield file, part
            file.flush()
            _synchronise(descriptor)
            if part is None:
                part = _give_name(file, path)
            if part is not None:
                os.replace(part, path)
    except BaseException as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from None
        raise


def write_together(files: Mapping[Path, bytes]) -> None:
    """Writes several files, all of them or none."""
    with ExitStack() as stack:
        for path, content in files.items():
            stack.enter_context(replacing(path)).write(content)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A folder that gets the name `path` only when it was filled to its end; until then it is a hidden sibling.

    Raises:
        LoraPerfError: something cannot be written, or a folder of that name has appeared.
    """
    temporary: Path | None = None
    lock: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        temporary = Path(_part_name(path))
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try_lock(lock, wait=True)
        temporary.mkdir(exist_ok=True)  # between its making and its locking it may have been taken for a leftover
        yield temporary
        temporary.rename(path)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from None
        raise
    finally:
        if lock is not None:
            os.close(lock)


def cannot_write(path: Path, error: OSError) -> LoraPerfError:
    """What to tell where something cannot be written."""
    return LoraPerfError(
        expected=f"a folder that can be written for {path}",
        found=error.strerror or str(error),
        fix="choose another path, its permissions or a disk with room",
    )


def check_writable(folder: Path) -> None:
    """Makes a folder where it is missing, and makes sure that files can be made in it; any number of processes may ask."""
    path = folder / "probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, part = _open_part(path)
        os.close(descriptor)
        if part is not None:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise LoraPerfError(
            expected=f"a folder that can be written at {folder}",
            found=error.strerror or str(error),
            fix="choose another folder, its permissions or a disk with room",
        ) from None


def sweep(folder: Path) -> None:
    """Removes what dead processes left of files and folders that they wrote into a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return  # a folder that is missing or cannot be read holds nothing that could be removed
    for name in names:
        if _PART.fullmatch(name):
            with suppress(OSError):  # another process removed it, or its owner alone may
                _remove_if_left(os.path.join(folder, name))


def _refuse_impossible(path: Path) -> None:
    """Raises what would otherwise be found out only when all is written; a name that many programs use is not taken away."""
    try:
        status = os.lstat(path)
        leads_to = os.stat(path).st_mode if stat.S_ISLNK(status.st_mode) else stat.S_IFREG
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) or not (stat.S_ISREG(leads_to) or stat.S_ISDIR(leads_to)):
        raise OSError(errno.EEXIST, "a device, or a link to a device or a pipe", str(path))


def _open_part(path: Path) -> tuple[int, str | None]:
    """The locked descriptor of a new file in the folder of `path`, and its name where it has to have one."""
    descriptor = _open_unnamed(path.parent)
    if descriptor is not None:
        try_lock(descriptor)
        return descriptor, None
    return _open_named(path)


def _open_named(path: Path) -> tuple[int, str]:
    while True:
        part = _part_name(path)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try_lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return descriptor, part
        os.close(descriptor)  # between its making and its locking it was taken for a leftover


def _open_unnamed(folder: Path) -> int | None:
    """The descriptor of a file without a name; None where the system or the file system has no such files."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            return None
        raise


def _give_name(file: BinaryIO, path: Path) -> str | None:
    """Gives a file without a name that of `path`, or, where that is taken, one that is returned."""
    try:
        return _link(file.fileno(), path)
    except OSError:  # some container or file system that makes such files and cannot name them
        file.seek(0)
        descriptor, part = _open_named(path)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                _synchronise(descriptor)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return part


def _link(descriptor: int, path: Path) -> str | None:
    source = f"/proc/self/fd/{descriptor}"
    for name in (str(path), _part_name(path)):
        with suppress(FileExistsError):
            # Python follows a link only where a descriptor is given; with an absolute path that plays no part.
            os.link(source, name, src_dir_fd=descriptor, follow_symlinks=True)
            return None if name == str(path) else name
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _part_name(path: Path) -> str:
    return str(path.parent / f".{path.name[:50]}.{os.urandom(4).hex()}.part")


def _synchronise(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):  # others come from file systems that cannot
            raise


def try_lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Locks a file until it is closed: whether that was possible; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep_once(folder: Path) -> None:
    if str(folder) not in _swept:
        _swept.add(str(folder))
        sweep(folder)


def _remove_if_left(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        locked = try_lock(descriptor)
        if locked is False or (locked is None and time.time() - status.st_mtime < _DAY):
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(status.st_mode):
            os.unlink(path)
    finally:
        os.close(descriptor)
