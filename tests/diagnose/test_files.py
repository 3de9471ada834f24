"""What goes through pickle and files under watch: how many numbers, which file, and in which state."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lora_perf
from lora_perf.diagnose.watching.files import numbers_in


def nested(shape: list[int], leaf: Any, kinds: list[type]) -> Any:
    if not shape:
        return leaf
    items = [nested(shape[1:], leaf, kinds[1:]) for _ in range(shape[0])]
    return dict(enumerate(items)) if kinds[0] is dict else kinds[0](items)


KINDS = st.lists(st.sampled_from([list, tuple, dict]), min_size=4, max_size=4)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.sampled_from([0.5, 3]), KINDS)
def test_numbers_of_one_shape_are_all_counted(shape: list[int], leaf: Any, kinds: list[type]) -> None:
    assert numbers_in(nested(shape, leaf, kinds)) == math.prod(shape)


@pytest.mark.parametrize("leaf", ["text", None, True, b"bytes", np.float32(1), np.ones(3)])
def test_what_is_no_number_of_python_counts_nothing(leaf: Any) -> None:
    assert numbers_in([leaf] * 20) == 0


def test_a_list_that_holds_itself_has_an_end() -> None:
    itself: list[Any] = [0.5]
    itself.append(itself)
    assert numbers_in(itself) >= 1


def kinds(block: Callable[[], object]) -> list[str]:
    with lora_perf.diagnose.watch(quiet=True) as seen:
        block()
    return [one.kind for one in seen.lines]


def many(call: Callable[[], object]) -> Callable[[], object]:
    return lambda: [call() for _ in range(1000)]


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (np.ones(512), ["arrays pickled one by one"]),
        ({"x": np.ones(20), "label": 3}, ["arrays pickled one by one"]),
        (torch.ones(30), ["arrays pickled one by one"]),
        (np.ones(513), []),
        ({"name": "a", "rate": 0.5}, []),
        ([0.5] * 100, ["numbers in a pickle"]),
        ([0.5] * 99, []),
        (["a"] * 100, []),
    ],
    ids=str,
)
def test_a_thousand_pickles_of_a_thing(thing: Any, kind: list[str]) -> None:
    assert kinds(many(lambda: pickle.dumps(thing))) == kind


def test_a_file_that_is_open_for_each_read_is_the_same_file_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps(np.ones(300_000)))

    def block() -> None:
        for _ in range(2):
            with (tmp_path / "a").open("rb") as file:
                pickle.load(file)

    assert kinds(block) == ["file read"]


def test_small_arrays_of_one_file_read_again_and_again_are_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps(np.ones(500)))

    def block() -> None:
        for _ in range(1000):
            with (tmp_path / "a").open("rb") as file:
                pickle.load(file)

    assert kinds(block) == ["file read"]


def test_what_is_no_file_is_not_read_again() -> None:
    data = pickle.dumps(np.ones(300_000))
    assert kinds(lambda: [pickle.load(io.BytesIO(data)) for _ in range(3)]) == []


def test_an_error_of_pickle_is_the_programs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no pickle")

    def block() -> None:
        with (tmp_path / "a").open("rb") as file, pytest.raises(pickle.UnpicklingError):
            pickle.load(file)
        with pytest.raises(TypeError):
            pickle.dumps()  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            pickle.load(3)  # type: ignore[arg-type]

    assert kinds(block) == []
