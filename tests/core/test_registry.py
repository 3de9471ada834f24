"""Registries: a name is given once, and an unknown one is answered with those that there are."""

from __future__ import annotations

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.registry import Registry


@pytest.fixture
def registry() -> Registry[int]:
    found = Registry[int]("reader")
    found.add("two", 2)
    found.add("one", 1)
    return found


def test_parts_stand_in_the_order_in_which_they_came(registry: Registry[int]) -> None:
    assert dict(registry) == {"two": 2, "one": 1}
    assert list(registry) == ["two", "one"]
    assert registry.resolve(["one", "two", "one"]) == [1, 2, 1]


def test_a_taken_name_is_refused(registry: Registry[int]) -> None:
    with pytest.raises(LoraPerfError, match="a new name for a reader; found 'one', which is taken"):
        registry.add("one", 3)
    assert registry["one"] == 1


@pytest.mark.parametrize("name", ["", "a b", "a.b", "../a", "1a", "a\n"])
def test_a_name_that_a_command_line_or_a_file_cannot_hold_is_refused(registry: Registry[int], name: str) -> None:
    with pytest.raises(LoraPerfError, match="a name of letters, digits and _"):
        registry.add(name, 3)


def test_an_unknown_name_is_answered_with_the_known_ones_and_a_text_is_no_list(registry: Registry[int]) -> None:
    with pytest.raises(LoraPerfError, match=r"a reader \(two, one\); found 'three'"):
        registry.resolve(["one", "three"])
    with pytest.raises(LoraPerfError, match=r"write \['one'\]"):
        registry.resolve("one")


def test_a_function_of_a_user_may_come_again_and_no_other_takes_its_name(registry: Registry[int]) -> None:
    registry.add("three", 3, "mine.three")
    registry.add("three", 33, "mine.three")
    assert registry["three"] == 33
    for owner in ("mine.other", None):
        with pytest.raises(LoraPerfError, match="is taken"):
            registry.add("three", 4, owner)
    with pytest.raises(LoraPerfError, match="is taken"):
        registry.add("one", 4, "mine.one")
