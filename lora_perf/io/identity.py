"""What a source is, so that whatever was made of it is known to be of this very content, labels and settings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import xxhash

from lora_perf.core.errors import LoraPerfError

State = tuple[int, int]  # size and time of the last change, in nanoseconds


def state_of(path: str | Path) -> State:
    """What a table on disk is known by as long as it is open."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def rewritten(path: str | Path) -> LoraPerfError:
    """The error for a file that is another one than when it was opened."""
    return LoraPerfError(
        expected=f"the table that was opened at {path}", found="another one, written since", fix="load the data set again"
    )


class Opened:
    """The files that tables are mapped from. What they map must not be touched once the files were cut: that ends a process."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._states = {os.path.abspath(path): state_of(path) for path in paths}

    def check(self) -> None:
        """Refuses a file that is another one now. One that was removed is still mapped, and as it was."""
        for path, state in self._states.items():
            try:
                now = state_of(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise LoraPerfError(
                    expected=f"the table that was opened at {path}", found=str(error.strerror), fix="load the data set again"
                ) from None
            if now != state:
                raise rewritten(path)


def identity(folder: str, files: Iterable[str], settings: Iterable[str]) -> str:
    """A hash of 32 digits of files and of the settings they are read with.

    A file is known by its path in the folder, its size, the time of its last change, which programs may set as they like,
    and that of its entry in the file system (ctime), which they may not: two folders that changed their names, or a link
    that leads elsewhere since, are noticed though sizes and times agree. What a file holds is not looked at.

    Args:
        folder: whose own path counts too: what names the files of a folder names no others.
        files: relative to the folder; links count as what they lead to. One that is away counts as such.

    Cost: one system call a file.
    """
    digest = xxhash.xxh3_128(os.fsencode(os.path.realpath(folder)))
    for text in settings:
        digest.update(b"\0" + os.fsencode(text))
    for path in sorted(files):
        try:
            status = os.stat(os.path.join(folder, path))
        except OSError:
            state = "away"
        else:
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        digest.update(b"\0\0" + os.fsencode(path) + b"\0" + state.encode())
    return digest.hexdigest()
