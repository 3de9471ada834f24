"""The table that closes `pytest --benchmark-only`: how much faster each workload is than its slow paths, how near its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.measure import digits

FAST, LIMIT = "lora_perf", "limit"
NOTE = (
    "Medians. The paths of a workload were timed one after the other: ratios to quote come from `python -m benchmarks.report`.",
    "A slow path that would take minutes does a share of the work, and its time is that of the whole at the same pace.",
)


def name_of_path(path: str, share: float) -> str:
    """What a path is called where its time stands: one that did a share of the work says so, for its time is of the whole."""
    return path if share == 1 else f"{path} (from {100 * share:.2g} % of the work)"


def closing_table(times: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of a table with a row a workload, and what they mean; none where nothing was timed.

    Args:
        times: for each workload the seconds of the whole work by path: `lora_perf`, `limit` and slow paths by name.
    """
    rows = [_row(workload, paths) for workload, paths in times.items() if FAST in paths]
    if not rows:
        return []
    head = ("workload", "lora_perf", "times the limit", "times faster than")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    return [*(_line(row, widths) for row in (head, *rows)), *NOTE]


def _row(workload: str, paths: Mapping[str, float]) -> tuple[str, str, str, str]:
    fast = paths[FAST]
    limit = digits(fast / paths[LIMIT]) if LIMIT in paths else ""
    slow = {name: seconds for name, seconds in paths.items() if name not in (FAST, LIMIT)}
    return workload, _seconds(fast), limit, " · ".join(f"{name} {_times(one / fast)}" for name, one in slow.items())


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = (text.rjust(width) for text, width in zip(row, widths, strict=False))
    return "  ".join([name.strip().ljust(widths[0]), *numbers, row[3]]).rstrip()


def _times(factor: float) -> str:
    return f"{digits(factor)}x" if factor >= 1 else f"{digits(factor)}x (it is the faster one)"


def _seconds(seconds: float) -> str:
    for size, unit in ((1, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-6)} us"
