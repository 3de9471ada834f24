"""What this machine leaves to a process: memory, room on a disk, and how busy its processor is."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_STAT = Path("/proc/stat")
_CPUINFO = Path("/proc/cpuinfo")
# Of a version of control groups: where its folders stand, its limit, what is in use, and the files that it can let go of.
_VERSIONS = (
    (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    (_GROUPS, "memory.max", "memory.current", "inactive_file"),
)


def memory_left() -> int:
    """Bytes that this process may still take: the least of what the machine, its control groups and its own limits leave.

    Pages of files that the system can let go of count as left.

    >>> memory_left() > 0
    True
    """
    found = [_machine_left(), _own_left(), *_groups_left()]
    return max(0, min(one for one in found if one is not None))


def disk_left(path: Path) -> int:
    """Bytes that may still be written where a path stands, or would stand once its folders are made."""
    place = path.absolute()
    while not os.path.exists(place):  # false, too, of what can be no path
        place = place.parent
    return shutil.disk_usage(place).free


def _machine_left() -> int:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _own_left() -> int | None:
    """Of the limits that a shell sets (`ulimit -v`, `ulimit -d`), of which mapped files fill the first."""
    import resource

    left = []
    for kind, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            left.append(limit - _status(field))
    return min(left, default=None)


def _status(field: str) -> int:
    """Bytes of this process by a name of /proc/self/status."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _groups_left() -> list[int]:
    """Of the control group of this process and of each one above it that has a limit (containers, Slurm, systemd)."""
    try:
        lines = [line.split(":", 2) for line in _CGROUPS.read_text().splitlines()]
    except OSError:
        return []
    left = []
    for _, controllers, inner in (line for line in lines if len(line) == 3):
        if controllers not in ("", "memory"):
            continue
        top, limit, usage, files = _VERSIONS[0] if controllers else _VERSIONS[1]
        group = top / inner.lstrip("/")
        while True:
            if (one := _group_left(group, limit, usage, files)) is not None:
                left.append(one)
            if group == top or top not in group.parents:
                break
            group = group.parent
    return left


def _group_left(group: Path, limit: str, usage: str, files: str) -> int | None:
    try:
        most = (group / limit).read_text().strip()
        if most == "max" or int(most) >= 1 << 60:
            return None
        used = int((group / usage).read_text())
        known = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(most) - used + int(known.get(files, 0))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Pressure:
    """How much others asked of the processor while something was measured.

    Attributes:
        load: the average number of processes that wanted to run, over a minute, this one included.
        stolen: the share of time that other machines on the same hardware took, 0 where that is not told.
        cores: how many this process may use.
    """

    load: float
    stolen: float
    cores: int

    @property
    def busy(self) -> bool:
        """Whether clocks are not to be trusted: more wish to run than can, or a tenth of the time went elsewhere."""
        return self.load > self.cores + 0.5 or self.stolen > 0.1

    def __str__(self) -> str:
        return f"load {self.load:.1f} on {self.cores} cores, {self.stolen:.0%} of the time stolen"


def pressure(of: Callable[[], object] | None = None, seconds: float = 0.1) -> Pressure:
    """How busy the machine is while something is called, or for some seconds.

    >>> pressure(lambda: sum(range(1000))).cores > 0
    True
    """
    before = _jiffies()
    if of is None:
        time.sleep(seconds)
    else:
        of()
    after = _jiffies()
    spent = sum(after) - sum(before)
    stolen = (after[7] - before[7]) / spent if spent > 0 and len(after) > 7 else 0.0
    return Pressure(os.getloadavg()[0], stolen, cores())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def bfloat16_units() -> bool:
    """Whether this CPU has instructions for products of bfloat16 (AVX512-BF16, AMX, SVE's BF16) that PyTorch can use."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    flags = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}) and torch.backends.mkldnn.is_available()


def _jiffies() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal of all cores together, in ticks."""
    try:
        return [int(one) for one in _STAT.read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return []
