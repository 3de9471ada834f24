"""The one exception class for everything that a user can get wrong."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lora_perf.core.text import LONGEST, printable

_LONGEST_PART = 2_000  # characters of a part of a message: enough for every list of names that the package writes


class LoraPerfError(Exception):
    """What was expected, what was found, and what to do about it, in one line whatever the names in it hold.

    Args:
        expected: what the program needs, as a noun phrase.
        found: what it got instead, with the names and numbers that locate it.
        fix: what the user can do, as an imperative.

    >>> LoraPerfError(expected="a zoo", found="an empty folder", fix="name another one")
    LoraPerfError('expected a zoo; found an empty folder; name another one')
    """

    def __init__(self, *, expected: str, found: str, fix: str) -> None:
        self.expected = expected
        self.found = found
        self.fix = fix
        expected, found, fix = (printable(part, _LONGEST_PART) for part in (expected, found, fix))
        super().__init__(f"expected {expected}; found {found}; {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        return partial(LoraPerfError, expected=self.expected, found=self.found, fix=self.fix), ()

    def but(self, **others: str) -> LoraPerfError:
        """The same with other parts.

        >>> LoraPerfError(expected="a file", found="none", fix="write it").but(expected="a file in x")
        LoraPerfError('expected a file in x; found none; write it')
        """
        return LoraPerfError(**{"expected": self.expected, "found": self.found, "fix": self.fix, **others})


def first_line(error: BaseException, empty: str | None = None) -> str:
    """The first line of what an error says, without its full stop; its kind, or `empty`, where it says nothing.

    >>> first_line(ValueError("no footer.\\nSee the manual")), first_line(ValueError())
    ('no footer', 'ValueError')
    """
    said = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__ if empty is None else empty)
    return said if said.endswith("..") else said.removesuffix(".")


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Names joined for a message, cut after `limit` of them; each is one line, cut in its middle where it is very long."""
    items = [str(name) for name in names]
    shown = ", ".join(printable(item, LONGEST) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... ({len(items)} in all)"
