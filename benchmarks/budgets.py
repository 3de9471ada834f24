"""What each workload may cost in calls, copies and bytes: `budgets.json`, compared with what `benchmarks.counters` finds.

A count above its budget and margin is a loss, and a violation. One below is a gain: nothing fails, and
`python -m benchmarks.counters --update` lowers the budget. A counter that a workload does not name is allowed 0.
Promises of speed, which need a clock, are another matter: `promises.py`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("budgets.json")
# Counts hold for these: other versions make other calls to do the same.
PACKAGES = ("datasets", "matplotlib", "numpy", "pyarrow", "safetensors", "scikit-learn", "scipy", "torch")


@dataclass(frozen=True)
class Budget:
    """A count that is allowed.

    Attributes:
        margin: share of the value by which a count may exceed it.
        slack: excess that does not count whatever its share.
        reason: what its growth means.
    """

    value: int
    margin: float
    slack: int
    reason: str

    @property
    def most(self) -> int:
        return self.value + max(int(self.margin * self.value), self.slack)


@dataclass(frozen=True)
class Violation:
    """A count above its budget; `budget` is None where the workload has none."""

    workload: str
    counter: str
    found: int
    budget: Budget | None

    def __str__(self) -> str:
        if self.budget is None:
            return f"{self.workload} has no budgets: python -m benchmarks.counters {self.workload} --update"
        allowed = f"its budget of {self.budget.value:,} (at most {self.budget.most:,})"
        return f"{self.workload}: {self.counter} is {self.found:,}, above {allowed}; {self.budget.reason}"


class Budgets:
    """The content of a file of budgets.

    Attributes:
        versions: of Python and of packages, with which the counts were taken.
        counters: margin, slack and reason of each counter, for all workloads that have none of their own.
        workloads: value of each counter that is not 0; a dict where a workload has its own margin, slack or reason.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.versions: dict[str, str] = dict(content["versions"])
        self.counters: dict[str, dict[str, Any]] = dict(content["counters"])
        self.workloads: dict[str, dict[str, Any]] = {name: dict(one) for name, one in content["workloads"].items()}

    def budget(self, workload: str, counter: str) -> Budget:
        own = self.workloads[workload].get(counter, 0)
        fields = {"margin": 0.0, "slack": 0, **self.counters[counter], **(own if isinstance(own, dict) else {"value": own})}
        return Budget(fields["value"], fields["margin"], fields["slack"], fields["reason"])

    def violations(self, workload: str, counts: Mapping[str, int]) -> list[Violation]:
        """The counters of a workload that are above their budgets; the first one where it has no budgets."""
        if workload not in self.workloads:
            return [Violation(workload, *next(iter(counts.items())), None)]
        budgets = {counter: self.budget(workload, counter) for counter in counts}
        return [
            Violation(workload, counter, found, budgets[counter])
            for counter, found in counts.items()
            if found > budgets[counter].most
        ]

    def gains(self, workload: str, counts: Mapping[str, int]) -> list[str]:
        """The counters of a workload that are below their budgets by more than margin or slack."""
        if workload not in self.workloads:
            return []
        budgets = {counter: self.budget(workload, counter) for counter in counts}
        return [counter for counter, found in counts.items() if found < 2 * budgets[counter].value - budgets[counter].most]

    def other_versions(self) -> list[str]:
        """Where this environment is not that of the budgets: counts taken here are not comparable with them."""
        here = versions()
        pairs = ((name, here.get(name), expected) for name, expected in self.versions.items())
        return [f"{name} {found} instead of {expected}" for name, found, expected in pairs if found != expected]

    def updated(self, counts: Mapping[str, Mapping[str, int]]) -> Budgets:
        """These budgets lowered or raised to other counts; what is within its margin stays, and so do margins and reasons."""
        workloads = dict(self.workloads)
        for name, found in counts.items():
            values = {counter: self._value(name, counter, found[counter]) for counter in found}
            workloads[name] = {counter: value for counter, value in values.items() if value}
        return Budgets({"versions": versions(), "counters": self.counters, "workloads": dict(sorted(workloads.items()))})

    def _value(self, workload: str, counter: str, found: int) -> Any:
        old = self.workloads.get(workload, {}).get(counter, 0)
        if workload in self.workloads and abs(found - (one := self.budget(workload, counter)).value) <= one.most - one.value:
            return old
        return {**old, "value": found} if isinstance(old, dict) else found

    def without(self, names: set[str]) -> Budgets:
        """These budgets less those of some workloads."""
        workloads = {name: one for name, one in self.workloads.items() if name not in names}
        return Budgets({"versions": self.versions, "counters": self.counters, "workloads": workloads})

    def write(self, path: Path = FILE) -> None:
        """One line a counter and a workload, so that a change of one is a line of a diff."""
        parts = [f' "versions": {json.dumps(self.versions)}']
        for title, table in (("counters", self.counters), ("workloads", self.workloads)):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in table.items())
            parts.append(f' "{title}": {{\n{lines}\n }}')
        path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def versions() -> dict[str, str]:
    """Of this environment: Python's minor version, and the packages on which counts depend."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name: version(name).partition("+")[0] for name in PACKAGES}}


def load(path: Path = FILE) -> Budgets:
    """The committed budgets."""
    return Budgets(json.loads(path.read_text()))
