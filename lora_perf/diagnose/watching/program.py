"""A program of somebody's, run unchanged under watch: its output, exit status and exceptions are its own."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

from lora_perf.core.errors import LoraPerfError
from lora_perf.diagnose.watching.findings import Watched
from lora_perf.diagnose.watching.methods import compiled, methods_seen
from lora_perf.diagnose.watching.probes import Probes
from lora_perf.diagnose.watching.watcher import Watching


def watch_program(path: Path | None = None, arguments: Sequence[str] = (), *, module: str | None = None) -> Watched:
    """Runs a program to its end and tells which of its lines lose time to conversions of data.

    What it leaves to be done when Python ends, by threads and exit handlers, is seen by the command alone.

    Args:
        path: of a file, or
        module: the name of a module, as `python -m` takes it.
        arguments: that the program sees.

    Returns:
        what was found, with the status that the program ends with. An exception of the program is printed as Python prints it.

    Raises:
        LoraPerfError: there is no such program, or it is no Python.
        KeyboardInterrupt: passed on with the findings so far as its argument `watched`.
    """
    running = Running(path, arguments, module=module)
    try:
        status = running.run()
    except KeyboardInterrupt as stop:
        stop.watched = running.end(130)  # type: ignore[attr-defined]
        raise
    return running.end(status)


@dataclass(frozen=True)
class _Source:
    """A program: what it is called, its text, its file, and what `python -m` knows of a module."""

    name: str
    text: bytes
    file: str
    spec: ModuleSpec | None = None


class Running:
    """A program under watch from `run` to `end`, threads and exit handlers between them included.

    Args:
        alone: whether the process is for this program alone, so that nothing of its starter's has to be found by imports.

    Raises:
        LoraPerfError: there is no such program, or it is no Python.
    """

    def __init__(
        self, path: Path | None, arguments: Sequence[str] = (), *, module: str | None = None, alone: bool = False
    ) -> None:
        self._source = _of_module(module) if module is not None else _of_file(path)
        given = self._source.file if path is None else os.fspath(path)
        self._words, self._alone = [given, *arguments], alone
        self._stack = ExitStack()
        self._watching = Watching(self._source.name)

    def run(self) -> int:
        """Runs the program's main module to its end; returns the status that it ends with."""
        main = _main(self._source)
        folder = os.getcwd() if self._source.spec is not None else os.path.dirname(os.path.realpath(self._source.file))
        self._stack.enter_context(_as_main(main, self._words, folder, self._alone))
        probes = self._stack.enter_context(Probes.installed(self._watching.ledger))
        self._stack.enter_context(methods_seen(probes))
        return _status_of(self._source, main)

    def end(self, status: int) -> Watched:
        """Takes the watch off; returns what was found."""
        self._stack.close()
        return self._watching.finish(status)


def _of_module(name: str) -> _Source:
    try:
        sys.path.insert(0, os.getcwd())
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.remove(os.getcwd())
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise LoraPerfError(expected=f"a module {name} written in Python", found="none", fix="run it where python -m finds it")
    return _Source(name, Path(spec.origin).read_bytes(), spec.origin, spec)


def _of_file(path: Path | None) -> _Source:
    assert path is not None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LoraPerfError(
            expected=f"a program at {path}", found=error.strerror or str(error), fix="give the path of a .py file"
        ) from None
    if b"\0" in text:
        raise LoraPerfError(expected=f"a program in Python at {path}", found="bytes that are no text", fix="give a .py file")
    return _Source(path.name, text, os.path.abspath(path))


def _main(source: _Source) -> ModuleType:
    """The module that Python makes for a program; processes that it spawns import their own by what stands here."""
    main = ModuleType("__main__")
    spec = source.spec
    main.__dict__.update(__file__=source.file, __cached__=None, __builtins__=builtins, __annotations__={})
    main.__dict__.update(__spec__=spec, __package__=None if spec is None else spec.parent)
    main.__loader__ = SourceFileLoader("__main__", source.file) if spec is None else spec.loader
    return main


def _status_of(source: _Source, main: ModuleType) -> int:
    try:
        exec(compiled(source.text, source.file), main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        error.__traceback__ = _of_program(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _of_program(found: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that are ours or come of ours: of compiling, and of importing what does not compile."""
    if found is None:
        return None
    rest = _of_program(found.tb_next)
    file = found.tb_frame.f_code.co_filename
    if file == ast.__file__ or file.startswith((os.path.dirname(__file__), "<frozen importlib")):
        return rest
    return TracebackType(rest, found.tb_frame, found.tb_lasti, found.tb_lineno)


@contextmanager
def _as_main(main: ModuleType, words: list[str], folder: str, alone: bool) -> Iterator[None]:
    """What a program finds when Python starts it."""
    before = sys.modules["__main__"], sys.argv, sys.path[:]
    sys.modules["__main__"], sys.argv = main, words
    # Where Python put the folder of the command that was started, that of the program stands.
    sys.path[: 1 if alone and not sys.flags.safe_path else 0] = [folder]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before
