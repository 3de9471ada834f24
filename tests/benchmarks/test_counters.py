"""The counters: each sees what it is there for, in other threads too, and nothing else moves it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks import counters
from benchmarks.counters import children
from benchmarks.table import Case, accept
from lora_perf.core.zoo import ArrayRows

MEGA = 1 << 20
TENSOR = torch.arange(MEGA // 4, dtype=torch.float32)
ARRAY = TENSOR.numpy()
SQUARE = TENSOR.view(512, 512)
ARROW = pa.array(ARRAY)
# Counters that an unimportant call or byte may move whatever is planted.
GENERAL = {"calls", "operators", "written_nbytes", "peak_nbytes", "torch_peak_nbytes"}
PLANTED: dict[str, tuple[Callable[[], Any], dict[str, int]]] = {
    "nothing": (lambda: None, {}),
    "a view": (lambda: TENSOR.view(-1, 2)[3:], {}),
    "work in place": (lambda: TENSOR.mul_(1), {}),
    "a clone": (TENSOR.clone, {"copied_nbytes": MEGA}),
    "a stack": (lambda: torch.stack([TENSOR, TENSOR]), {"copied_nbytes": 2 * MEGA}),
    "a copy into a tensor": (lambda: torch.empty_like(TENSOR).copy_(TENSOR), {"copied_nbytes": MEGA}),
    "a transpose made contiguous": (lambda: SQUARE.mT.contiguous(), {"copied_nbytes": MEGA}),
    "float64": (TENSOR.double, {"copied_nbytes": 2 * MEGA}),
    "a product": (lambda: SQUARE[:2] @ SQUARE, {"product_flops": 2 * 2 * 512 * 512}),
    "item": (lambda: TENSOR[0].item(), {"synchronisations": 1}),
    "a tensor that is asked for its truth": (lambda: bool(TENSOR[0]), {"synchronisations": 1}),
    "a copy by NumPy": (ARRAY.copy, {"allocations": 1, "allocated_nbytes": MEGA}),
    "an operation of NumPy": (lambda: np.negative(ARRAY), {"allocations": 1, "allocated_nbytes": MEGA}),
    "zeros of NumPy": (lambda: np.zeros(MEGA, np.int8), {"allocations": 1, "allocated_nbytes": MEGA}),
    "float64 of NumPy": (lambda: ARRAY.astype(np.float64), {"allocations": 1, "allocated_nbytes": 2 * MEGA}),
    "a copy by Arrow": (lambda: pa.concat_arrays([ARROW, ARROW]), {"allocations": 1, "allocated_nbytes": 2 * MEGA}),
    "a file": (lambda: Path(__file__).open("rb").close(), {"file_calls": 1}),
}


def count(call: Callable[[], Any]) -> dict[str, int]:
    """The counters of a call that was made before."""
    call()
    return counters.count(Case(call, accept, 0))


def moved(call: Callable[[], Any]) -> dict[str, int]:
    return {name: value for name, value in count(call).items() if value and name not in GENERAL}


def in_thread(call: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        thread = Thread(target=call)
        thread.start()
        thread.join()

    return run


@pytest.mark.parametrize("what", PLANTED)
def test_a_counter_sees_what_it_is_there_for_and_no_other_moves(what: str) -> None:
    call, expected = PLANTED[what]
    assert moved(call) == expected


@pytest.mark.parametrize("what", ["a clone", "float64", "a copy by NumPy", "zeros of NumPy"])
def test_a_thread_is_seen_as_its_starter_is(what: str) -> None:
    call, expected = PLANTED[what]
    assert moved(in_thread(call)) == expected


def test_every_counter_has_a_meaning_and_every_meaning_a_counter() -> None:
    assert list(count(lambda: None)) == list(counters.MEANING)


def test_python_numbers_that_compiled_code_makes_are_seen_as_memory() -> None:
    assert count(lambda: None)["peak_nbytes"] < 10_000
    assert count(ARROW.to_pylist)["peak_nbytes"] > 6 * MEGA
    assert count(TENSOR.tolist)["peak_nbytes"] > 6 * MEGA


def test_the_peak_of_tensors_is_of_those_held_at_a_time() -> None:
    def in_turn() -> None:
        for _ in range(3):
            TENSOR.clone()

    assert count(in_turn)["torch_peak_nbytes"] == MEGA
    assert count(lambda: [TENSOR.clone() for _ in range(3)])["torch_peak_nbytes"] == 3 * MEGA
    assert count(in_turn)["written_nbytes"] == 3 * MEGA


def test_calls_are_those_of_the_call_alone() -> None:
    def inner() -> None:
        pass

    def outer() -> None:
        inner()
        len("abc")

    found = count(outer)
    assert found["calls"] == 3


def test_rows_that_a_source_reads_are_counted_each_time() -> None:
    source = ArrayRows(np.ones((4, 3), np.float32))
    out = np.empty((4, 3), np.float32)
    read = ArrayRows.read

    def twice() -> None:
        source.read(0, 4, out)
        source.read(1, 2, out[:1])

    assert count(twice)["rows_nbytes"] == (4 + 1) * 3 * 4
    assert ArrayRows.read is read  # what was put in its place is gone


def test_what_a_python_process_imports_is_counted_less_the_package_itself(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import colorsys\n")
    (tmp_path / "lora_perf.py").write_text("import heavy\n")
    with children.watched() as found:
        command = [sys.executable, "-P", "-c", "import lora_perf"]
        subprocess.run(command, check=True, env={"PYTHONPATH": str(tmp_path)})
    assert found == {"child_modules": 2}


def test_a_process_counts_its_first_call_like_every_other(run_python: Callable[..., str]) -> None:
    """torch imports modules when it first watches operators, which kept the frames of the call and their tensors alive."""
    program = """
import torch
from benchmarks.counters import count_memory

def first():
    held = torch.ones(1000)
    return held.sum()

def call():
    first()
    torch.ones(1000)

print(count_memory(call) == count_memory(call))
"""
    assert run_python(program).strip() == "True"


def test_what_is_counted_leaves_no_hook_behind() -> None:
    count(lambda: None)
    assert sys.getprofile() is None
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert subprocess.run.__module__ == "subprocess"
    assert Thread.run.__module__ == "threading"


def test_an_array_that_was_counted_outlives_its_count() -> None:
    kept: list[np.ndarray[Any, Any]] = []
    counters.count_memory(lambda: kept.append(np.full(1000, 7.0)))
    kept[0].resize(2000)
    np.testing.assert_array_equal(kept[0][:1000], 7.0)


def test_what_prepares_a_call_is_not_counted() -> None:
    case = Case(lambda: None, accept, 0, before=TENSOR.clone)
    found = counters.count(case)
    assert (found["copied_nbytes"], found["calls"], found["torch_peak_nbytes"]) == (0, 1, 0)
