"""Registries: the parts of one kind by their names, those of the package and those of users alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.users import load_entry_points

T = TypeVar("T")


def refuse_uncallable(kind: str, name: str, function: Any) -> None:
    """Refuses what a door was given instead of a function."""
    if not callable(function):
        found = f"a value of type {type(function).__name__}"
        raise LoraPerfError(
            expected=f"a function for the {kind} {name}", found=found, fix="decorate the function that makes it"
        )


class Registry(Mapping[str, T], Generic[T]):
    """Parts of one kind, in the order in which they came; a name is given once.

    Args:
        kind: what messages call a part, as "representation".

        >>> shapes = Registry[int]("shape")
        >>> shapes.add("square", 4)
        >>> shapes["square"], list(shapes)
        (4, ['square'])
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, T] = {}
        self._owners: dict[str, str | None] = {}

    def add(self, name: str, part: T, owner: str | None = None) -> None:
        """Enters a part.

        Args:
            owner: the function of a user that it was made of, by module and name. The same function may come again, from a cell
                of a notebook or a module that is loaded anew, and then takes the place of what it was.

        Raises:
            LoraPerfError: the name is taken, or it is none that a command line, a file name and a table can show.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise LoraPerfError(
                expected=f"a name of letters, digits and _ for a {self.kind}", found=repr(name), fix="choose such a name"
            )
        if name in self._parts and (owner is None or self._owners[name] != owner):
            raise LoraPerfError(
                expected=f"a new name for a {self.kind}", found=f"{name!r}, which is taken", fix="choose another name"
            )
        self._parts[name] = part
        self._owners[name] = owner

    def resolve(self, names: Iterable[str]) -> list[T]:
        """The parts of some names, in their order."""
        if isinstance(names, str):
            raise LoraPerfError(
                expected=f"a list of names, each of a {self.kind}", found=f"the text {names!r}", fix=f"write [{names!r}]"
            )
        return [self.named(name) for name in names]

    def named(self, name: str) -> T:
        """The part of a name; packages of users are asked where it is unknown so far.

        Raises:
            LoraPerfError: the name is unknown; the known ones are listed.
        """
        if name not in self._parts:
            load_entry_points()
        if name not in self._parts:
            raise LoraPerfError(
                expected=f"a {self.kind} ({listed(self._parts, 60)})", found=repr(name), fix="choose among these"
            )
        return self._parts[name]

    def __getitem__(self, name: str) -> T:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"{len(self)} of kind {self.kind}: {listed(self._parts, 60)}"
