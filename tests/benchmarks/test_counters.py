"""The counters: each sees what it is there for, in other threads too, and nothing else moves it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks import counters
from benchmarks.counters import children
from benchmarks.table import Case, accept
from lora_perf.core.zoo import ArrayRows
from tests.conftest import MakeZoo

MEGA = 1 << 20
TENSOR = torch.arange(MEGA // 4, dtype=torch.float32)
ARRAY = TENSOR.numpy()
SQUARE = TENSOR.view(512, 512)
ARROW = pa.array(ARRAY)
EXAMPLES = datasets.Dataset.from_dict({"value": list(range(10))})
# Counters that a row or a byte more may move whatever is planted: calls, lines and memory as such.
GENERAL = {"python_calls", "c_calls", "lines", "operators", "written_nbytes", "peak_nbytes", "torch_peak_nbytes"}
PLANTED: dict[str, tuple[Callable[[], Any], dict[str, int]]] = {
    "nothing": (lambda: None, {}),
    "a view": (lambda: TENSOR.view(-1, 2)[3:], {}),
    "work in place": (lambda: TENSOR.mul_(1), {}),
    "a clone": (TENSOR.clone, {"copies": 1, "copied_nbytes": MEGA}),
    "a stack": (lambda: torch.stack([TENSOR, TENSOR]), {"copies": 1, "copied_nbytes": 2 * MEGA}),
    "a copy into a tensor": (lambda: torch.empty_like(TENSOR).copy_(TENSOR), {"copies": 1, "copied_nbytes": MEGA}),
    "a transpose made contiguous": (lambda: SQUARE.mT.contiguous(), {"copies": 1, "copied_nbytes": MEGA}),
    "float64": (TENSOR.double, {"copies": 1, "copied_nbytes": 2 * MEGA, "casts": 1, "cast_nbytes": 2 * MEGA}),
    "another device": (lambda: TENSOR.to("meta"), {"copies": 1, "copied_nbytes": MEGA, "transfers": 1}),
    "rows by index": (lambda: SQUARE[torch.zeros(2, dtype=torch.int64)], {"gathers": 1, "gathered_nbytes": 4096}),
    "index_select": (
        lambda: SQUARE.index_select(0, torch.zeros(1, dtype=torch.int64)),
        {"gathers": 1, "gathered_nbytes": 2048},
    ),
    "a sort": (TENSOR.sort, {"sorts": 1}),
    "topk": (lambda: TENSOR.topk(3), {"sorts": 1}),
    "a product": (lambda: SQUARE[:2] @ SQUARE, {"products": 1, "product_flops": 2 * 2 * 512 * 512}),
    "eigenvalues": (lambda: torch.linalg.eigvalsh(SQUARE[:2, :2]), {"decompositions": 1}),
    "a Fourier transform": (lambda: torch.fft.rfft(TENSOR[:8]), {"decompositions": 1}),
    "item": (lambda: TENSOR[0].item(), {"synchronisations": 1, "list_calls": 1}),
    "a tensor that is asked for its truth": (lambda: bool(TENSOR[0]), {"synchronisations": 1}),
    "tolist": (lambda: TENSOR[:9].tolist(), {"list_calls": 1}),
    "tolist of NumPy": (lambda: ARRAY[:9].tolist(), {"list_calls": 1}),
    "a copy by NumPy": (ARRAY.copy, {"numpy_arrays": 1, "numpy_nbytes": MEGA}),
    "an operation of NumPy": (lambda: np.negative(ARRAY), {"numpy_arrays": 1, "numpy_nbytes": MEGA}),
    "zeros of NumPy": (lambda: np.zeros(MEGA, np.int8), {"numpy_arrays": 1, "numpy_nbytes": MEGA}),
    "float64 of NumPy": (lambda: ARRAY.astype(np.float64), {"numpy_arrays": 1, "numpy_nbytes": 2 * MEGA}),
    "a copy by Arrow": (lambda: pa.concat_arrays([ARROW, ARROW]), {"arrow_buffers": 1, "arrow_nbytes": 2 * MEGA}),
    "a file": (lambda: Path(__file__).open("rb").close(), {"file_calls": 1}),
}


def count(call: Callable[[], Any]) -> dict[str, int]:
    """The counters of a call that was made before."""
    call()
    return counters.count(Case(call, accept, 0, layers=0, adapters=0))


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


@pytest.mark.parametrize("what", ["a clone", "float64", "tolist", "a copy by NumPy", "zeros of NumPy"])
def test_a_thread_is_seen_as_its_starter_is(what: str) -> None:
    call, expected = PLANTED[what]
    assert moved(in_thread(call)) == expected


def test_every_counter_has_a_meaning_and_every_meaning_a_counter() -> None:
    assert list(count(lambda: None)) == list(counters.MEANING)


def test_a_tensor_of_python_numbers_is_seen() -> None:
    values = [1.0] * 100
    found = count(lambda: torch.tensor(values))
    assert found["tensor_calls"] == 1
    assert count(lambda: torch.zeros(1).new_tensor(values))["tensor_calls"] == 1
    assert count(lambda: torch.as_tensor(values))["tensor_calls"] == 1


def test_python_numbers_that_compiled_code_makes_are_seen_as_memory() -> None:
    assert count(lambda: None)["peak_nbytes"] < 10_000
    assert count(lambda: ARROW.to_pylist())["peak_nbytes"] > 6 * MEGA


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
    assert (found["python_calls"], found["c_calls"]) == (2, 1)


def test_a_formatter_of_datasets_is_seen() -> None:
    assert count(lambda: EXAMPLES.with_format("numpy")[0])["datasets_calls"] > 20


def test_a_loop_in_the_package_is_seen_as_lines(random_zoo: MakeZoo) -> None:
    few, many = (random_zoo(n) for n in (2, 10))
    lines = [count(lambda zoo=zoo: list(zoo.blocks(1)))["lines"] for zoo in (few, many)]
    turns, rest = divmod(lines[1] - lines[0], 10 - 2)  # each row is a turn of the loop of `blocks`
    assert turns >= 2
    assert rest == 0
    assert count(lambda: [one for one in range(100)])["lines"] == 0  # noqa: C416 - a loop, and not in the package


def test_rows_that_a_source_reads_are_counted_each_time() -> None:
    source = ArrayRows(np.ones((4, 3), np.float32))
    out = np.empty((4, 3), np.float32)
    read = ArrayRows.read

    def twice() -> None:
        source.read(0, 4, out)
        source.read(1, 2, out[:1])

    assert count(twice)["rows_nbytes"] == (4 + 1) * 3 * 4
    assert ArrayRows.read is read  # what was put in its place is gone


def test_what_a_python_process_imports_and_executes_is_counted(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import colorsys\nfor _ in range(100):\n    pass\n")

    def run(code: str) -> dict[str, int]:
        with children.watched(str(tmp_path)) as found:
            subprocess.run([sys.executable, "-P", "-c", code], check=True, env={"PYTHONPATH": str(tmp_path)})
        return found

    assert run("pass") == {"child_modules": 0, "child_packages": 0, "child_lines": 0}
    found = run("import heavy")
    assert (found["child_modules"], found["child_packages"]) == (2, 1)
    assert found["child_lines"] > 100


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
    assert (found["copies"], found["c_calls"], found["torch_peak_nbytes"]) == (0, 0, 0)
