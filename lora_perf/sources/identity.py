"""What a source is, so that whatever was made of it is known to be of this very content, labels and settings."""

from __future__ import annotations

import os
from collections.abc import Iterable

import xxhash


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
