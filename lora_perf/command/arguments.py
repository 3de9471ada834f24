"""Command lines: a dataclass says which flags there are, with `--import` and `--version` beside them on every command."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from inspect import cleandoc
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from lora_perf.command.about import version_line
from lora_perf.core.users import imported

T = TypeVar("T")
_HELP = "Module of your own, or the path of its .py file, whose parts get names here; may be repeated."
_MODULES = Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="MODULE", help=_HELP), tyro.conf.UseAppendAction]


def parsed(kind: type[T], arguments: Sequence[str] | None, prog: str, *, positional: bool = False) -> T:
    """The settings that a command line gives, once the modules behind `--import` were imported.

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     runs: int = 3
        >>> parsed(Settings, ["--runs", "5", "--import", "json"], "example").runs
        5

    Args:
        kind: a dataclass; its docstrings are the help.
        arguments: by default those of the process.
        positional: whether settings without a default stand in the line without a flag.

    Raises:
        LoraPerfError: a module that cannot be imported; what `kind` refuses.
        SystemExit: the help or the version was asked for, or the line is wrong.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print(version_line())
        sys.exit()
    imported(arguments)
    flags = [("modules", _MODULES, field(default=())), *_flags_of_registries(kind)]
    whole: Any = make_dataclass(kind.__name__, flags, bases=(kind,), frozen=True)
    whole.__doc__ = f"{cleandoc(kind.__doc__ or '')}\n\n--version shows the version."
    config = (tyro.conf.PositionalRequiredArgs,) if positional else ()
    found = tyro.cli(whole, args=arguments, prog=prog, config=config)
    return kind(**{one.name: getattr(found, one.name) for one in fields(kind)})  # type: ignore[arg-type]


def _flags_of_registries(kind: type[Any]) -> list[tuple[str, Any, Any]]:
    """The fields of names of a registry, which their metadata hold as "known": their help lists its parts."""
    hints = get_type_hints(kind)

    def flag(name: str, default: Any, known: Mapping[str, Any]) -> tuple[str, Any, Any]:
        told = ", ".join(f"{part} ({one.about})" for part, one in known.items())
        hint = tyro.conf.arg(help_behavior_hint=lambda usual: f"Known: {told}. (default: {usual})")
        return name, Annotated[hints[name], hint], field(default=default)

    return [flag(one.name, one.default, one.metadata["known"]) for one in fields(kind) if "known" in one.metadata]
