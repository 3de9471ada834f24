"""What the events of PyTorch's profiler add up to: calls, time, launches and bytes of each operator and of each stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from lora_perf.profiling.ranges import Path

Event = Mapping[str, Any]
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
# Bytes of an element by the names that the profiler gives to types; the others are no tensors.
_SIZES = {
    "double": 8, "long int": 8, "long": 8, "c10::complex<float>": 8, "c10::complex<double>": 16,
    "float": 4, "int": 4, "c10::Half": 2, "c10::BFloat16": 2, "short": 2,
    "signed char": 1, "unsigned char": 1, "bool": 1,
}  # fmt: skip

# Operators that touch no value, or only prepare the result of another one: they are no launch.
_NAMES = """
_local_scalar_dense _reshape_alias _unsafe_view alias as_strided as_strided_ broadcast_tensors broadcast_to chunk detach
detach_ diagonal empty empty_like empty_strided expand expand_as fill_ flatten is_floating_point item lift_fresh mH movedim
mT narrow new_empty new_empty_strided numpy_T permute real reshape resize_ resize_as_ resolve_conj resolve_neg result_type
select set_ size slice split split_with_sizes squeeze squeeze_ stride swapaxes t t_ transpose transpose_ unbind unflatten
unfold unsqueeze unsqueeze_ view view_as view_as_real zero_
"""
_LIGHT = {f"aten::{name}" for name in _NAMES.split()} | {"detach", "detach_"}
# Conversions, which call `copy_` where there is something to convert; an operator that converts an argument works itself too.
_CALLERS = {"aten::to", "aten::_to_copy", "aten::clone", "aten::contiguous"}
_ASIDE = _LIGHT | _CALLERS | {"aten::copy_"}


@dataclass
class Count:
    """What operators of one name, or of one stage, took.

    Attributes:
        seconds: on the threads that called them, what they called left out.
        launches: operators that did work of their own, and kernels and copies of a GPU.
        nbytes: of the tensors that these were given, so that a copy counts both its ends.
        allocated: bytes that they allocated themselves, where allocations were recorded.
        device: seconds on a GPU.
    """

    calls: int = 0
    seconds: float = 0.0
    launches: int = 0
    nbytes: int = 0
    allocated: int = 0
    device: float = 0.0


@dataclass
class Tally:
    """Adds up events of a trace, one window after the other.

    Args:
        path_at: the stage that the traced thread was in, by the nanosecond.
        thread: the number of the traced thread.

    Attributes:
        operators, stages: by name, by path.
        spent: nanoseconds by path that the traced thread was in operators.
    """

    path_at: Callable[[float], Path]
    thread: int
    operators: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    stages: dict[Path, Count] = field(default_factory=lambda: defaultdict(Count))
    spent: dict[Path, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, events: Iterable[Event], base: int) -> None:
        """Adds the events of a window, whose times count microseconds from `base`, in nanoseconds."""
        threads: dict[Any, list[Event]] = defaultdict(list)
        for one in events:
            if one.get("cat") == "cpu_op" and one.get("ph") == "X":
                threads[one["tid"]].append(one)
            elif one.get("cat") in _ON_DEVICE:
                self._on_device(one, base)
            elif one.get("name") == "[memory]" and one.get("ph") == "i":
                threads[one["tid"]].append(one)
        for thread, found in threads.items():
            self._thread(found, base, main=thread == self.thread)

    def _thread(self, events: list[Event], base: int, *, main: bool) -> None:
        """Operators of one thread, of which each lies within the one that called it or beside it."""
        events.sort(key=lambda one: (one["ts"], -one.get("dur", 0)))
        opened: list[list[Any]] = []  # event, its end, microseconds of those that it called, whether these did any work
        for one in events:
            while opened and one["ts"] >= opened[-1][1]:
                self._close(opened.pop(), base)
            if one["ph"] == "i":
                gained = max(0, int(one["args"].get("Bytes", 0)))
                if opened:
                    self.operators[opened[-1][0]["name"]].allocated += gained
                self.stages[self.path_at(base + one["ts"] * 1e3)].allocated += gained
                continue
            if opened:
                opened[-1][2] += one["dur"]
                opened[-1][3] |= one["name"] not in _ASIDE
            elif main:
                self.spent[self.path_at(base + one["ts"] * 1e3)] += one["dur"] * 1e3
            opened.append([one, one["ts"] + one["dur"], 0.0, False])
        while opened:
            self._close(opened.pop(), base)

    def _close(self, opened: list[Any], base: int) -> None:
        event, _, called, calls_others = opened
        for count in (self.operators[event["name"]], self.stages[self.path_at(base + event["ts"] * 1e3)]):
            count.calls += 1
            count.seconds += max(0.0, event["dur"] - called) / 1e6
            if not (calls_others or event["name"] in _LIGHT or event["name"] in _CALLERS):
                count.launches += 1
                count.nbytes += nbytes_of(event.get("args", {}))

    def _on_device(self, event: Event, base: int) -> None:
        for count in (self.operators[event["name"]], self.stages[self.path_at(base + event["ts"] * 1e3)]):
            count.launches += 1
            count.device += event.get("dur", 0) / 1e6
            count.nbytes += int(event.get("args", {}).get("bytes", 0))


def nbytes_of(told: Mapping[str, Any]) -> int:
    """Bytes of the tensors that an operator was given.

    >>> nbytes_of({"Input Dims": [[2, 3], [], [[4], [4]]], "Input type": ["float", "Scalar", "TensorList"]})
    24
    """
    pairs = zip(told.get("Input Dims", ()), told.get("Input type", ()), strict=False)
    return sum(prod(shape) * _SIZES[kind] for shape, kind in pairs if kind in _SIZES and all(isinstance(n, int) for n in shape))
