"""What each workload is allowed to count: `budgets.json`, compared with what `benchmarks.counters` finds.

A count above its budget is a loss; one below it is a budget that no longer guards. Both are violations, so that budgets
stay tight. `python -m benchmarks.counters --update` writes the file anew and prints what changed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("budgets.json")
# Counts hold for these: other versions make other calls to do the same.
PACKAGES = ("datasets", "matplotlib", "numpy", "pyarrow", "safetensors", "scikit-learn", "scipy", "torch")


@dataclass(frozen=True)
class Violation:
    """A count that is not within its budget.

    Attributes:
        budget: what is allowed; None where the file has no budget for it.
        found: what was counted; None where it was not counted.
        margin: share of the budget by which a count may differ.
        reason: why the budget stands.
        share: what was found for each layer and adapter, as a phrase.
    """

    workload: str
    counter: str
    budget: int | None
    found: int | None
    margin: float
    reason: str
    share: str = ""

    @property
    def ratio(self) -> float:
        """How often the budget was used up; infinity where nothing was allowed."""
        if not self.budget:
            return float("inf") if self.found else 1.0
        return (self.found or 0) / self.budget

    def __str__(self) -> str:
        name = f"{self.workload}: {self.counter}"
        if self.found is None:
            return f"{name} has a budget of {self.budget:,}, but was not counted"
        if self.budget is None:
            return f"{name} is {self.found:,} and has no budget: python -m benchmarks.counters --update {self.workload}"
        text = f"{name} is {self.found:,}{self.share}, {self.ratio:.6g} times its budget of {self.budget:,}"
        text += f" (margin {self.margin:.2%}); {self.reason}"
        if self.found < self.budget:
            text += f"; better than its budget: lower the budget (python -m benchmarks.counters --update {self.workload})"
        return text


@dataclass(frozen=True)
class Budget:
    """A count that is allowed.

    Attributes:
        margin: share of the value by which a count may differ.
        slack: difference that does not count whatever its share.
        reason: why the value is what it is, or what its growth means.
    """

    value: int
    margin: float
    slack: int
    reason: str

    def holds(self, found: int) -> bool:
        return abs(found - self.value) <= max(self.margin * self.value, self.slack)


class Budgets:
    """The content of a file of budgets.

    Attributes:
        versions: of Python and of packages, with which the counts were taken.
        counters: margin, slack and reason of each counter, for all workloads that have none of their own.
        workloads: value of each counter; where a workload has its own margin, slack or reason, a dict that holds them too.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.versions: dict[str, str] = dict(content["versions"])
        self.counters: dict[str, dict[str, Any]] = dict(content["counters"])
        self.workloads: dict[str, dict[str, Any]] = {name: dict(one) for name, one in content["workloads"].items()}

    def budget(self, workload: str, counter: str) -> Budget:
        own = self.workloads[workload][counter]
        fields = {"margin": 0.0, "slack": 0, **self.counters[counter], **(own if isinstance(own, dict) else {"value": own})}
        return Budget(fields["value"], fields["margin"], fields["slack"], fields["reason"])

    def violations(self, workload: str, counts: Mapping[str, int]) -> list[Violation]:
        """The counters of a workload that are not within their budgets; all of them where it has none."""
        budgets = self.workloads.get(workload, {})
        found = []
        for counter in {**budgets, **counts}:
            count = counts.get(counter)
            if counter not in budgets:
                found.append(Violation(workload, counter, None, count, 0.0, ""))
                continue
            one = self.budget(workload, counter)
            if count is None or not one.holds(count):
                found.append(Violation(workload, counter, one.value, count, one.margin, one.reason))
        return [replace(one, share=_share(one, counts)) for one in found]

    def other_versions(self) -> list[str]:
        """Where this environment is not that of the budgets: counts taken here are not comparable with them."""
        here = versions()
        pairs = ((name, here.get(name), expected) for name, expected in self.versions.items())
        return [f"{name} {found} instead of {expected}" for name, found, expected in pairs if found != expected]

    def updated(self, counts: Mapping[str, Mapping[str, int]]) -> Budgets:
        """These budgets with the values of other counts; what is within its margin stays, and so do margins and reasons."""
        workloads = dict(self.workloads)
        for name, found in counts.items():
            old = self.workloads.get(name, {})
            workloads[name] = {counter: self._value(name, counter, old.get(counter), found[counter]) for counter in found}
        return Budgets({"versions": versions(), "counters": self.counters, "workloads": dict(sorted(workloads.items()))})

    def _value(self, workload: str, counter: str, old: Any, found: int) -> Any:
        if old is not None and self.budget(workload, counter).holds(found):
            return old
        return {**old, "value": found} if isinstance(old, dict) else found

    def without(self, names: set[str]) -> Budgets:
        """These budgets less those of some workloads."""
        workloads = {name: one for name, one in self.workloads.items() if name not in names}
        return Budgets({"versions": self.versions, "counters": self.counters, "workloads": workloads})

    def write(self, path: Path = FILE) -> None:
        content = {"versions": self.versions, "counters": self.counters, "workloads": self.workloads}
        path.write_text(json.dumps(content, indent=1) + "\n")


def _share(violation: Violation, counts: Mapping[str, int]) -> str:
    """What a count comes to for each layer and adapter of the workload."""
    sizes = [(name, counts.get(f"{name}s", 1)) for name in ("layer", "adapter")]
    if violation.counter in ("layers", "adapters") or violation.found is None:
        return ""
    shares = [f"{violation.found / size:,.4g} a{'n' if name == 'adapter' else ''} {name}" for name, size in sizes if size > 1]
    return f" ({', '.join(shares)})" if shares else ""


def versions() -> dict[str, str]:
    """Of this environment: Python's minor version, and the packages on which counts depend."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name: version(name).partition("+")[0] for name in PACKAGES}}


def load(path: Path = FILE) -> Budgets:
    """The committed budgets."""
    return Budgets(json.loads(path.read_text()))
