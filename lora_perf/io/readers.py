"""Readers of users: how each recognises a source, and the function that opens it.

They are asked before the formats of the package, in the order in which they came: a folder of files that a user knows better
is the user's. Endings and names of the package's own formats are taken. Zoos with a name of their own come before all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.registry import Registry, refuse_uncallable
from lora_perf.core.sources import owner_of, source_version
from lora_perf.core.users import load_entry_points
from lora_perf.core.zoo import Zoo

F = TypeVar("F", bound=Callable[[Any], Any])
OWN_ENDINGS = (".safetensors", ".parquet", ".arrow", ".feather", ".ipc")
OWN_FORMATS = ("packed", "saved", "parquet", "arrow", "adapters")
_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True)
class Reader:
    """A user's reader.

    Attributes:
        name: what messages and caches call it.
        function: from a path, or from an address as it was written, to a Zoo or to what `load` understands.
        endings: of paths that are its own.
        scheme: of its addresses.
        recognises: says of a path that is there whether it is its own.
    """

    name: str
    function: Callable[[Any], Any]
    endings: tuple[str, ...] = ()
    scheme: str | None = None
    recognises: Callable[[Path], bool] | None = None

    @property
    def version(self) -> str:
        """The name with a hash of the function as it is now: what a cached zoo of it depends on beside the source."""
        return f"{self.name} {source_version(self.function)}"

    def knows(self, source: str) -> bool:
        """Whether a source is its own."""
        if self.scheme is not None:
            return scheme_of(source) == self.scheme
        path = Path(os.path.expanduser(source))
        if not os.path.exists(path):
            return False
        if self.recognises is None:
            return path.name.lower().endswith(self.endings)
        return bool(self.recognises(path))


READERS: Registry[Reader] = Registry("reader")


def reader(
    name: str,
    *,
    suffix: str | tuple[str, ...] = (),
    scheme: str | None = None,
    recognises: Callable[[Path], bool] | None = None,
) -> Callable[[F], F]:
    """Enters a function of one's own as a reader, for `load` and all commands (there with `--import`).

    The function gets the path, or the address as it was written, and returns a Zoo or anything that `load` understands:
    tables, arrays by the names of their layers, state dicts, another path.

        >>> @reader("numpy_archive", suffix=".npz")
        ... def read(path):
        ...     import numpy as np
        ...     return dict(np.load(path))

    Args:
        suffix: the ending of paths that it reads, or several.
        scheme: of addresses that it reads, "mydb" for mydb://host/zoo.
        recognises: a function that says of a path that is there whether the reader reads it.

    Raises:
        LoraPerfError: the name, an ending or the scheme is taken, or not exactly one way to recognise a source is given.
    """
    endings = tuple(one.lower() for one in ((suffix,) if isinstance(suffix, str) else suffix))
    if bool(endings) + bool(scheme) + (recognises is not None) != 1:
        raise LoraPerfError(
            expected=f"one way to know the sources of the reader {name!r}: suffix, scheme or recognises",
            found="none" if not endings and not scheme and recognises is None else "several",
            fix="give exactly one",
        )
    if any(not re.fullmatch(r"(\.[^./\\]+)+", one) for one in endings):
        raise LoraPerfError(
            expected=f"endings with their dot, such as '.npz', for the reader {name!r}",
            found=listed(map(repr, endings)),
            fix="add it",
        )
    if scheme is not None and not _ADDRESS.fullmatch(f"{scheme}://"):
        raise LoraPerfError(
            expected=f"a scheme such as 'mydb' for the reader {name!r}", found=repr(scheme), fix="leave :// and the rest out"
        )

    def enter(function: F) -> F:
        refuse_uncallable("reader", name, function)
        made = Reader(name, function, endings, scheme and scheme.lower(), recognises)
        if name in OWN_FORMATS:
            raise LoraPerfError(
                expected="a new name for a reader", found=f"{name!r}, which is taken", fix="choose another name"
            )
        others = [one for one in READERS.values() if one.name != name]
        both = {*OWN_ENDINGS, *(ending for one in others for ending in one.endings)} & set(endings)
        both |= {one.scheme for one in others if one.scheme} & {made.scheme or ""}
        if both:
            raise LoraPerfError(
                expected=f"sources for the reader {name!r} that no other reads",
                found=f"{listed(sorted(both))}, which is taken",
                fix="choose another, or recognise the sources by a function (recognises=...)",
            )
        READERS.add(name, made, owner_of(function))
        return function

    return enter


def asked(source: str | Path) -> Reader | None:
    """The first reader of a user's that knows a source; None where none does.

    Cost: entry points are loaded the first time.
    """
    load_entry_points()
    return next((one for one in READERS.values() if one.knows(str(source))), None)


def scheme_of(source: str) -> str | None:
    """The scheme of an address; None where a source is none.

    >>> scheme_of("MyDB://host/zoo"), scheme_of("some/zoo")
    ('mydb', None)
    """
    match = _ADDRESS.match(source)
    return match["scheme"].lower() if match else None


@dataclass(frozen=True)
class Named:
    """A zoo with a name of its own, which comes before that of a path; whoever makes such zoos names them here.

    Attributes:
        title: what messages call it.
        open: opens it, or makes it.
        hidden: whether a path of that name comes first, so that lists of names leave it out.
    """

    title: str
    open: Callable[[], Zoo]
    hidden: bool = False


NAMED: dict[str, Named] = {}


def shown() -> list[str]:
    """The names that a user may choose among."""
    return [name for name, one in NAMED.items() if not one.hidden]
