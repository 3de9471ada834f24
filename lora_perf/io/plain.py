"""Values of metadata as they are meant: what is written as a text and is a number in every row is a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_NONE = ("", "None", "null")
_BOOLEANS = {"True": True, "False": False, "true": True, "false": False}


def as_meant(values: Sequence[Any]) -> list[Any]:
    """Values of a column, of which texts that are all whole numbers, numbers or truths become such; None for what is missing.

    >>> as_meant(["3", "12", "None"]), as_meant(["1e-4", "2"]), as_meant(["True", None]), as_meant(["007", "x", ""])
    ([3, 12, None], [0.0001, 2.0], [True, None], ['007', 'x', None])
    """
    plain = [None if isinstance(value, str) and value in _NONE else value for value in values]
    present = [value for value in plain if value is not None]
    if not present or not all(isinstance(value, str) for value in present):
        return plain
    texts = set(present)
    if texts <= _BOOLEANS.keys():
        return [value if value is None else _BOOLEANS[value] for value in plain]
    for kind, fits in ((int, _is_whole), (float, _is_number)):
        if all(map(fits, texts)):
            return [value if value is None else kind(value) for value in plain]
    return plain


def is_plain(value: object) -> bool:
    """Whether a value is a number, a text or a truth that a column of metadata can show; a missing one is.

    >>> is_plain(3), is_plain("a cat"), is_plain({"cat": 3}), is_plain('{"cat": 3}')
    (True, True, False, False)
    """
    if isinstance(value, str):  # trainers write lists and mappings as texts, and images too
        return not value.startswith(("{", "[", "data:"))
    return value is None or isinstance(value, bool | int | float)


def is_several(value: object) -> bool:
    """Whether a value is a list of texts or whole numbers, as several labels of an adapter are.

    >>> is_several(["ink", "dog"]), is_several([]), is_several([0.5]), is_several("ink")
    (True, True, False, False)
    """
    return isinstance(value, list) and all(isinstance(one, str | int) and not isinstance(one, bool) for one in value)


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and (digits[0] != "0" or text == "0")  # an id such as 007 is a text


def _is_number(text: str) -> bool:
    digits = text.lstrip("+-")
    if not digits[:1].isdecimal() and digits[:1] != ".":  # nan, inf, a word
        return False
    if digits[0] == "0" and digits[1:2].isdecimal():
        return False
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
