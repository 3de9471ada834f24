"""The one exception class for everything that a user can get wrong."""


class LoraPerfError(Exception):
    """What was expected, what was found, and what to do about it, in one line.

    Args:
        expected: what the program needs, as a noun phrase.
        found: what it got instead, with the names and numbers that locate it.
        fix: what the user can do, as an imperative.
    """

    def __init__(self, *, expected: str, found: str, fix: str) -> None:
        self.expected = expected
        self.found = found
        self.fix = fix
        super().__init__(f"expected {expected}; found {found}; {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.expected, self.found, self.fix))


def _rebuild(expected: str, found: str, fix: str) -> LoraPerfError:
    return LoraPerfError(expected=expected, found=found, fix=fix)


def listed(names: object, limit: int = 12) -> str:
    """Names joined for a message, cut after `limit` of them."""
    items = [str(name) for name in names]  # type: ignore[attr-defined]
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... ({len(items)} in all)"
