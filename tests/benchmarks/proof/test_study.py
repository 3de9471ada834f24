"""The proof, small: what it says of planted slowdowns and of unchanged code, and that it goes on. `pytest -m long` alone."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import budgets
from benchmarks.proof import study
from benchmarks.proof.planting import Mutant
from benchmarks.proof.study import Proof
from lora_perf.pairs.rule import Rule
from tests.benchmarks.guard_tree import LOOPS, Tree

pytestmark = pytest.mark.long

_RULE = Rule(suspicion=1.4, threshold=1.6, looks=(0.05, 0.2))

# Counters of the small repository: the turns of its loop, which the proof asks for as it does of the real ones.
_COUNTERS = """
import json
import sys
from benchmarks.workloads import TABLE

def count(call):
    turns = 0
    def see(frame, event, argument):
        nonlocal turns
        turns += event == "line"
        return see
    sys.settrace(see)
    call()
    sys.settrace(None)
    return {"lines": turns}

if __name__ == "__main__":
    *names, _, path = sys.argv[1:]
    found = {}
    for name in names:
        case = TABLE[name].prepare("small")
        case.checked()
        found[name] = count(case.call)
        open(path, "w").write(json.dumps(found))
"""
_MUTANT = """
name = "{name}"
what = "Slow"
stage = "loading"
workloads = ["{workload}"]

[[edits]]
file = "lora_perf/work.py"
find = {find}
replace = {replace}
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path / "tree")
    made.write("benchmarks/counters.py", _COUNTERS)
    allow(made, _lines(made))
    monkeypatch.setattr(budgets.Budgets, "other_versions", lambda _: [])
    monkeypatch.setattr(study, "_EFFECT_SECONDS", 0.1)
    return made


def allow(tree: Tree, lines: int) -> None:
    """Writes the budget of the work."""
    counters = {"lines": {"margin": 0.0, "slack": 0, "reason": "more turns"}}
    content = {"versions": {}, "counters": counters, "workloads": {"spinning": {"lines": lines}}}
    tree.write("benchmarks/budgets.json", json.dumps(content))


def _lines(tree: Tree) -> int:
    """The count of the work as it stands."""
    work: dict[str, Any] = {}
    exec((tree.root / "lora_perf/work.py").read_text(), work)
    turns = 0

    def see(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal turns
        turns += event == "line"
        return see

    sys.settrace(see)
    work["spin"]()
    sys.settrace(None)
    return turns


def plant(tmp_path: Path, name: str, find: str, replace: str, workload: str = "spinning") -> None:
    folder = tmp_path / "mutants"
    folder.mkdir(exist_ok=True)
    text = _MUTANT.format(name=name, find=json.dumps(find), replace=json.dumps(replace), workload=workload)
    (folder / f"{name}.toml").write_text(text)


def proof(tree: Tree, tmp_path: Path, console: Console) -> Proof:
    table = {"spinning": ("small",), "sleeping": ("small",)}
    return Proof(tree.root, table, tmp_path / "reports", "small", _RULE, console, tmp_path / "mutants")


def prove(tree: Tree, tmp_path: Path, *names: str, idle: int = 0, busy: int = 0) -> tuple[bool, str]:
    """What a proof says, and what it prints."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    one = proof(tree, tmp_path, console)
    return one.run(names, ("spinning",), {"idle": idle, "busy": busy}), text.getvalue()


def read_results(tmp_path: Path) -> dict[str, Any]:
    (folder,) = (tmp_path / "reports").glob("*-guard")
    assert "## Planted slowdowns" in (folder / "README.md").read_text()
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_a_proof_tells_found_missed_and_broken_mutants_apart(tree: Tree, tmp_path: Path) -> None:
    plant(tmp_path, "slow", f"range({LOOPS})", f"range({3 * LOOPS})")
    plant(tmp_path, "waits", "total = 0", "total = 0 * (time.sleep(0.02) or 0)")
    plant(tmp_path, "unseen", "import time\n", "import time  # and nothing else\n")
    plant(tmp_path, "wrong", f"return {LOOPS}", "return 0")
    sound, text = prove(tree, tmp_path)
    assert not sound  # one is broken
    found = {one["name"]: one for one in read_results(tmp_path)["mutants"]}
    assert found["slow"]["by_pairs"] == found["waits"]["by_pairs"] == ["spinning"]
    assert [one["counter"] for one in found["slow"]["by_counts"]] == ["lines"]
    assert found["waits"]["by_counts"] == []
    assert found["slow"]["slowdown"] > 2
    assert not found["unseen"]["caught"]
    assert found["wrong"]["broken"] == ["spinning: failed: AssertionError: wrong sum"]
    assert not found["wrong"]["caught"]
    assert "1.15x and more: 2 of 2 found (2 by pairs, 1 by counts)" in text
    assert "broken mutants, whose result is wrong: wrong" in text


def test_unchanged_code_is_compared_with_itself_idle_and_busy(tree: Tree, tmp_path: Path) -> None:
    plant(tmp_path, "slow", f"range({LOOPS})", f"range({3 * LOOPS})")
    sound, _ = prove(tree, tmp_path, idle=9, busy=2)
    assert sound
    alarms = read_results(tmp_path)["alarms"]
    assert [(one["runs"], one["turns"], one["false_alarms"]) for one in alarms.values()] == [(9, 2, 0), (2, 1, 0)]


def test_counts_that_are_off_on_unchanged_code_find_no_mutant(tree: Tree, tmp_path: Path) -> None:
    allow(tree, 1)
    plant(tmp_path, "unseen", "import time\n", "import time  # and nothing else\n")
    sound, text = prove(tree, tmp_path, idle=1)
    assert not sound
    assert not read_results(tmp_path)["mutants"][0]["caught"]
    assert "counts that break their budget on unchanged code: spinning" in text


def test_counts_alone_find_what_they_can(tree: Tree, tmp_path: Path) -> None:
    plant(tmp_path, "slow", f"range({LOOPS})", f"range({3 * LOOPS})")
    plant(tmp_path, "waits", "total = 0", "total = 0 * (time.sleep(0.02) or 0)")
    plant(tmp_path, "wrong", f"return {LOOPS}", "return 0")
    text = io.StringIO()
    one = proof(tree, tmp_path, Console(file=text, width=200))
    assert not one.run_counts(())
    assert "slow: lines" in text.getvalue()
    assert "waits: no count above its budget" in text.getvalue()
    assert "1 of 3 found by counts; broken: wrong" in text.getvalue()
    assert one.run_counts(("slow", "waits"))


def test_a_proof_of_some_mutants_is_printed_and_not_written(tree: Tree, tmp_path: Path) -> None:
    plant(tmp_path, "slow", f"range({LOOPS})", f"range({3 * LOOPS})")
    sound, text = prove(tree, tmp_path, "slow")
    assert sound
    assert "found by pairs and counts; lines" in text
    assert not (tmp_path / "reports").exists()


def test_an_interrupted_proof_goes_on_where_it_ended(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "first", f"range({LOOPS})", f"range({3 * LOOPS})")
    plant(tmp_path, "second", f"range({LOOPS})", f"range({3 * LOOPS})")
    done: list[str] = []
    original = Proof._plant

    def interrupted(self: Proof, one: Mutant, *folders: Path) -> Any:
        if one.name == "second" and not done.count("second"):
            done.append(one.name)
            raise KeyboardInterrupt
        done.append(one.name)
        return original(self, one, *folders)

    monkeypatch.setattr(Proof, "_plant", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prove(tree, tmp_path)
    assert len(list((tmp_path / "reports").glob("*.jsonl"))) == 1
    assert prove(tree, tmp_path)[0]
    assert done == ["first", "second", "second"]
    assert len(read_results(tmp_path)["mutants"]) == 2
    assert not list((tmp_path / "reports").glob("*.jsonl"))
