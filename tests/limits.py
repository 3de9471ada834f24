"""A limit on memory that the operating system sets, page cache included where it can: a control group, or none at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_OLD, _NEW = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_ENTER = (
    "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


def run_limited(
    arguments: Sequence[str], nbytes: int, seconds: float = 300, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A Python program in a control group that may use so many bytes, those of cached files included.

    A program that needs more is killed (status -9). Skips the test where no such group can be made.
    """
    group = (_OLD if (_OLD / "memory.limit_in_bytes").exists() else _NEW) / f"lora_perf-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror})")
    try:
        try:
            (group / ("memory.max" if group.parent == _NEW else "memory.limit_in_bytes")).write_text(str(nbytes))
            (group / "cgroup.procs").write_text("")
        except OSError as error:
            if not (group / "cgroup.procs").exists() or "limit" in str(error.filename) or "max" in str(error.filename):
                pytest.skip(f"memory of a control group cannot be limited here ({error.strerror})")
        return subprocess.run(
            [sys.executable, "-c", _ENTER, str(group / "cgroup.procs"), *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    finally:
        group.rmdir()
