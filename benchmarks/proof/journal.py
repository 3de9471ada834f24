"""What a long proof has done so far, so that it goes on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash

from benchmarks.guard.suite import PACKAGE

Entry = dict[str, Any]


class Journal:
    """Entries by key, each on a line of a file as soon as it is known.

    Args:
        path: of the file; None keeps the entries in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        if path is not None and path.exists():
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            self._entries = {one["key"]: one for one in map(json.loads, whole)}
            path.write_text("".join(whole))  # a line that an interruption cut off is done again

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Entry:
        return self._entries[key]

    def add(self, key: str, entry: Entry) -> None:
        """Keeps an entry."""
        self._entries[key] = {"key": key, **entry}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(self._entries[key]) + "\n")

    def remove(self) -> None:
        """Deletes the file: what it held stands in a report."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def sources_key(root: Path, *settings: object) -> str:
    """A hash of what a measurement depends on: the package, the workloads, the guard, and settings."""
    digest = xxhash.xxh3_64(repr(settings).encode())
    folders = (PACKAGE, "benchmarks", "tests/perf")
    files = [*(one for folder in folders for one in root.glob(f"{folder}/**/*.py")), root / "benchmarks" / "budgets.json"]
    for file in sorted(files):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
