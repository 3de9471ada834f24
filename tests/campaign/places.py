"""The place of one trial: its folder, its logs, its steps, and what is left there at the end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign.outcomes import Ended, Fault, Outcome
from tests.campaign.processes import Kill, Running, fork, start

# What differs between two runs of the same settings: their times, and checksums that cover these.
_VOLATILE = ("seconds", "milliseconds", "checksum", "xxh3", "digest", "machine", "time", "date", "pid", "host", "started")

Snapshot = dict[str, Any]


@dataclass
class Place:
    """Where a trial happens.

    Attributes:
        identity: of the trial, "kill-17".
        folder: the working folder of its processes.
        logs: what they said, apart from the folder.
        random: the only source of chance.
        what: what the trial does, for the report.
        limit: seconds of a step, some fifty times what it takes.
    """

    identity: str
    folder: Path
    logs: Path
    random: Random
    what: str = ""
    limit: float = 60.0
    steps: list[str] = field(default_factory=list)

    def fork(self, work: Callable[[], int], what: str, **options: Any) -> Running:
        """Begins a step in a fork of this process."""
        return fork(work, self.folder, self._log(what), **options)

    def run(self, work: Callable[[], int], what: str, *, kill: Kill | None = None, **options: Any) -> Ended:
        """A step in a fork of this process, to its end."""
        return self.fork(work, what, kill=kill, **options).wait(self.limit, kill)

    def start(self, arguments: list[str], what: str, *, kill: Kill | None = None) -> Ended:
        """A step in a Python of its own, to its end."""
        return start(arguments, self.folder, self._log(what), kill=kill).wait(self.limit, kill)

    def _log(self, what: str) -> Path:
        self.steps.append(what)
        return self.logs / f"{len(self.steps)} {what}"


def snapshot(folder: Path) -> Snapshot:
    """What a folder holds, by relative path: numbers of JSON and CSV files without times, the bytes of weights and features.

    Of logs, pages and figures, which tell times, only that they are there.
    """
    found: Snapshot = {}
    for inner, folders, files in os.walk(folder):
        for name in files + [one for one in folders if os.path.islink(os.path.join(inner, one))]:
            path = Path(inner, name)
            found[path.relative_to(folder).as_posix()] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.is_symlink() or not path.is_file():
        return "no regular file"
    if path.suffix == ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        if path.suffix == ".json":
            return _without_times(json.loads(path.read_bytes()))
        if path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(path.read_text())))
            return [{key: value for key, value in row.items() if not _is_volatile(key)} for row in rows]
    except (ValueError, RecursionError):
        return "damaged"
    return "there"


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if not _is_volatile(key)}
    if isinstance(value, list):
        return [_without_times(one) for one in value]
    return value


def _is_volatile(key: Any) -> bool:
    return any(part in str(key).lower().split("_") or part == str(key).lower() for part in _VOLATILE)


def compare(
    folder: Path,
    expected: Mapping[str, Any],
    what: str,
    *,
    ignore: Callable[[str], bool] = lambda _: False,
    optional: Callable[[str], bool] = lambda _: False,
) -> None:
    """Raises Fault where a folder does not hold what an undisturbed run leaves, or more than that.

    Args:
        ignore: files that are not looked at.
        optional: files that may be missing.
    """
    found = snapshot(folder)
    extra = [path for path in found if path not in expected and not ignore(path)]
    if extra:
        raise Fault(Outcome.LEFT, f"{what} left {', '.join(sorted(extra)[:5])} ({len(extra)} in all)")
    missing = [path for path in expected if path not in found and not ignore(path) and not optional(path)]
    if missing:
        raise Fault(Outcome.DIFFERENT, f"{what} did not write {', '.join(sorted(missing)[:5])}")
    for path, content in expected.items():
        if path in found and found[path] != content and not ignore(path):
            raise Fault(
                Outcome.DIFFERENT, f"{what}: {path} is not that of an undisturbed run: {difference(found[path], content)}"
            )


def all_but(path: str) -> Callable[[str], bool]:
    """What tells all paths but one, to ignore them."""
    return lambda other: other != path


def is_earlier(path: str) -> bool:
    """Whether a file is of an earlier report, which a run with other settings puts aside."""
    return path.startswith("out/earlier/")


def difference(found: Any, expected: Any, place: str = "") -> str:
    """The first place where two contents differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in {**found, **expected}:
            if found.get(key) != expected.get(key):
                return difference(found.get(key), expected.get(key), f"{place}.{key}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return difference(one, other, f"{place}[{i}]")
    return f"{place} is {str(found)[:80]} where {str(expected)[:80]} is right"


def copy(source: Path, target: Path) -> None:
    """A copy of a folder with its links and times."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
