"""What is read of files and written to them: the same file again, and what goes through pickle."""

from __future__ import annotations

import io
import itertools
import os
from typing import Any

from lora_perf.diagnose.watching.wraps import Call, Told, Wraps

_PIECE = 4096  # bytes of an array that is small for a call of its own
_MEMBERS = 8  # of a container that is looked into, first in order
_DEPTH = 6  # of containers in each other; one may hold itself


class Files:
    """Files that were read, each in the state that the program left it in."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}

    def reads(self, wraps: Wraps, owner: Any, *names: str) -> None:
        """Counts functions that read what their first argument names."""
        for name in names:
            wraps.call(owner, name, self._read)

    def writes(self, wraps: Wraps, owner: Any, name: str, *, at: int) -> None:
        """Takes note of files that a function writes: what is read of them afterwards is something else."""

        def wrote(call: Call) -> Told:
            target = call.argument(at)
            self._wrote(target if isinstance(target, str | os.PathLike) else getattr(target, "name", None))
            return None

        wraps.call(owner, name, wrote)

    def pickles(self, wraps: Wraps, owner: Any) -> None:
        """Counts what is read and written by a module like pickle."""
        wraps.call(owner, "load", self._unpickled, before=lambda args: _place_in(args[0]) if args else None)
        wraps.call(owner, "dump", self._pickled)
        wraps.call(owner, "loads", lambda call: _form_of(call.found))
        wraps.call(owner, "dumps", lambda call: _form_of(call.argument()))

    def _pickled(self, call: Call) -> Told:
        self._wrote(getattr(call.argument(1), "name", None))
        return _form_of(call.argument())

    def _unpickled(self, call: Call) -> Told:
        kind, values, nbytes, _ = _form_of(call.found) or ("file read", 0, 0, None)
        end = _place_in(call.args[0]) if call.args else None
        if end is None or call.before is None:
            return None if kind == "file read" else (kind, values, nbytes, None)
        (path, start), (_, stop) = call.before, end
        taken = max(0, stop - start)
        key = (*self._state(path), start), taken
        return (kind, taken // 4, taken, key) if kind == "file read" else (kind, values, nbytes, key)

    def _read(self, call: Call) -> Told:
        path = call.argument()
        if not isinstance(path, str | os.PathLike):
            return None
        nbytes = _on_disk(os.fspath(path))
        return "file read", nbytes // 4, nbytes, (self._state(os.fspath(path)), nbytes)

    def _state(self, path: str) -> tuple[str, int, int]:
        """A file as it is now: by its system's clock, and by the writes that were seen, which may be too quick for that."""
        real = os.path.realpath(path)
        try:
            changed = os.stat(real).st_mtime_ns
        except OSError:
            changed = 0
        return real, changed, self._written.get(real, 0)

    def _wrote(self, path: Any) -> None:
        if isinstance(path, str | os.PathLike) and isinstance(name := os.fspath(path), str):
            for real in (os.path.realpath(name), os.path.realpath(name + ".npy")):  # numpy.save adds that ending
                self._written[real] = self._written.get(real, 0) + 1


def _place_in(file: Any) -> tuple[str, int] | None:
    """Path of an open file and where in it is read next; None where it is no file or has no such place."""
    name = getattr(file, "name", None)
    if not isinstance(file, io.BufferedIOBase | io.RawIOBase) or not isinstance(name, str):
        return None
    try:
        return name, file.tell()
    except (OSError, ValueError):
        return None


def _form_of(thing: Any) -> Told:
    """What it is to pickle a thing, or to make it from a pickle; None where that is no loss."""
    members = [thing]
    if type(thing) in (list, tuple, dict) and len(thing) <= _MEMBERS:
        members = list(thing.values() if type(thing) is dict else thing)
    arrays = [one for one in members if type(one).__module__ in ("numpy", "torch") and hasattr(one, "nbytes")]
    if arrays and (nbytes := sum(int(one.nbytes) for one in arrays)) <= _PIECE:
        return "arrays pickled one by one", len(arrays), nbytes, None
    numbers = 0 if arrays else numbers_in(thing)
    return ("numbers in a pickle", numbers, 8 * numbers, None) if numbers > 1 else None


def numbers_in(thing: Any, depth: int = _DEPTH) -> int:
    """Python numbers in lists, tuples and dictionaries inside of each other, by their lengths and their first members.

    >>> numbers_in([[0.5] * 300] * 200), numbers_in({"up": [0.5] * 300, "label": 3}), numbers_in("text")
    (60000, 301, 0)
    """
    kind = type(thing)
    if kind is float or kind is int:
        return 1
    if kind not in (list, tuple, dict) or not thing or not depth:
        return 0
    first = list(itertools.islice(thing.values() if kind is dict else thing, _MEMBERS))
    return len(thing) * sum(numbers_in(one, depth - 1) for one in first) // len(first)


def _on_disk(path: str) -> int:
    try:
        if os.path.isdir(path):
            return sum(one.stat().st_size for one in itertools.islice(os.scandir(path), 1000) if one.is_file())
        return os.stat(path).st_size
    except OSError:
        return 0
