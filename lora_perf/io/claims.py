"""A folder that one process at a time writes to, by a lock of the operating system."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.atomic import cannot_write, check_writable, try_lock

LOCK = ".lock"  # in such a folder


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Makes the folder, and keeps other processes from claiming it.

    The lock is that of the operating system on the file `.lock`, which says who holds it and goes at the end; that of a process
    that was killed is free. Where the file system has no locks nobody is kept out.

    Raises:
        LoraPerfError: another process has claimed it; or it cannot be written.
    """
    path = folder / LOCK
    check_writable(folder)
    try:
        descriptor = _claimed(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        text = f"process {os.getpid()} on {platform.node() or 'this machine'} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        with suppress(OSError):  # the lock holds whether or not its file can say whose it is
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)  # while it is locked, so that nobody else can have claimed it
        os.close(descriptor)


def _claimed(path: Path) -> int:
    """The descriptor of the lock file, locked."""
    while True:
        flags = os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags | os.O_RDWR, 0o666)
        except PermissionError:  # left by another user of a shared folder: reading it is enough to lock it
            descriptor = os.open(path, flags & ~os.O_CREAT | os.O_RDONLY)
        try:
            if try_lock(descriptor) is False:
                told = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
                raise LoraPerfError(
                    expected=f"one run at a time that writes to {path.parent}",
                    found=f"another one ({told})" if told.isprintable() and told else "another one",
                    fix="wait for its end, or choose another --output-dir (its cache may be shared with --cache-dir)",
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it removed the file meanwhile
