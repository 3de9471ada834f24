"""What calls take beside time: the same numbers every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lora_perf.pairs.calls import counted
from lora_perf.pairs.compare import Finding, Verdict
from lora_perf.pairs.summary import Told

_ONES = torch.ones(500, requires_grad=True)


def arrays() -> object:
    held = np.empty((20, 1000))
    for row in held:
        np.empty_like(row)  # given back at once
    return held[3:].T


def tensors() -> object:
    held = torch.ones(1000)
    for _ in range(20):
        held = held * 2
    return held.mul_(2).view(10, 100).T


def gradients() -> object:
    _ONES.grad = None
    return (_ONES * 3).sum().backward()


def buffers() -> object:
    return [pa.allocate_buffer(1000) for _ in range(7)]


@pytest.mark.parametrize(("call", "number"), [(arrays, 21), (tensors, 21), (buffers, 7), (dict, 0), (list, 0)])
def test_each_fresh_memory_of_a_library_counts_once(call: Callable[[], Any], number: int) -> None:
    call()
    assert [counted(call)["allocations"] for _ in range(3)] == [number] * 3


def test_the_way_back_of_a_gradient_counts_too() -> None:
    gradients()
    found = counted(gradients)["allocations"]
    assert found == counted(gradients)["allocations"]
    assert found >= 4  # the product, its sum, and a gradient of each


def test_what_goes_before_a_call_is_not_counted() -> None:
    assert counted(dict, before=arrays)["allocations"] == 0


@pytest.mark.parametrize(("base", "change", "told"), [(20, 22, False), (1000, 1099, False), (20, 31, True), (1000, 1101, True)])
def test_allocations_are_told_above_a_tenth_and_ten(base: int, change: int, told: bool) -> None:
    one, other = ({"peak": 0, "calls": 0, "allocations": number} for number in (base, change))
    found = Told(Finding("any", Verdict.KEPT), {"base": one, "change": other})
    assert found.heavier == ([f"allocations {base:,} -> {change:,}"] if told else [])
    assert not found.finding.verdict.bad
