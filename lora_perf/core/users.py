"""Modules of users, whose parts enter the registries when they are imported: named by `--import`, or by an entry point.

A package of a user names its modules in its pyproject.toml:

    [project.entry-points.lora_perf]
    mine = "my_package.parts"
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from itertools import pairwise
from types import ModuleType

from lora_perf.core.errors import LoraPerfError, first_line

GROUP = "lora_perf"
_FLAG = "--import"
_IMPORTLIB = os.path.dirname(importlib.__file__)
_log = logging.getLogger(__name__)
_asked = False


def import_named(name: str) -> ModuleType:
    """Imports a module by its name, or by the path of its .py file, which runs anew each time.

    The working folder, or that of the file, is looked at last for what it imports in turn.

        >>> import_named("json").__name__
        'json'

    Raises:
        LoraPerfError: there is none, or it fails; the line is named.
    """
    path = os.path.abspath(os.path.expanduser(name)) if name.endswith(".py") else None
    folder = os.getcwd() if path is None else os.path.dirname(path)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name) if path is None else _of_file(path)
    except (Exception, SystemExit) as error:  # whatever a user's module may raise
        raise LoraPerfError(
            expected=f"a module {name} that can be imported", found=_told(error), fix="correct it, or its name after --import"
        ) from error


def imported(arguments: Iterable[str]) -> None:
    """Imports what a command line names after `--import`, and what entry points name, before anything else is parsed."""
    load_entry_points()
    for word, following in pairwise([*arguments, ""]):
        if word == _FLAG and following:
            import_named(following)
        elif word.startswith(f"{_FLAG}="):
            import_named(word.removeprefix(f"{_FLAG}="))


def load_entry_points() -> None:
    """Imports the modules that installed packages name in the entry-point group `lora_perf`, once a process.

    Registries call this before they say that a name is unknown. One that fails is a warning.

    Cost: some milliseconds, the first time.
    """
    global _asked
    if _asked:
        return
    _asked = True  # before they are loaded: what they import may ask too
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # as above
            _log.warning("the entry point %s (%s) of group %s is left out: %s", point.name, point.value, GROUP, _told(error))


def _of_file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    known = sys.modules.get(name)
    if known is not None and os.path.abspath(getattr(known, "__file__", None) or "") != path:
        raise ImportError(f"another module {name} is imported already; give the file another name")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    """An error in one line, with the file and line of the user's that it came from."""
    text = first_line(error, "no message")
    frames = traceback.extract_tb(error.__traceback__)
    where = [(one.filename, one.lineno) for one in frames if not one.filename.startswith(("<", __file__, _IMPORTLIB))]
    if isinstance(error, SyntaxError) and error.filename:
        text, where = error.msg, [(error.filename, error.lineno)]
    place = f", line {where[-1][1]} of {where[-1][0]}" if where else ""
    return f"{type(error).__name__}: {text}{place}"
