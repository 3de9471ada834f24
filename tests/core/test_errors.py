from __future__ import annotations

import pickle

import pytest

from lora_perf.core.errors import LoraPerfError, listed


def error() -> LoraPerfError:
    return LoraPerfError(expected="a zoo", found="nothing", fix="write one")


def test_the_message_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    assert str(error()) == "expected a zoo; found nothing; write one"


def test_the_three_parts_can_be_read_one_by_one() -> None:
    assert (error().expected, error().found, error().fix) == ("a zoo", "nothing", "write one")


def test_parts_are_named_when_given() -> None:
    with pytest.raises(TypeError, match="positional"):
        LoraPerfError("a zoo", "nothing", "write one")  # type: ignore[call-arg]


def test_an_error_crosses_process_boundaries() -> None:
    copy = pickle.loads(pickle.dumps(error()))
    assert type(copy) is LoraPerfError
    assert (str(copy), copy.fix) == (str(error()), "write one")


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", 2], "a, 2"), (["a", "b", "c"], "a, b, c"), (list("abcd"), "a, b, c, ... (4 in all)")],
)
def test_listed_names_are_cut_after_the_limit_with_their_number(names: list[object], text: str) -> None:
    assert listed(names, 3) == text


def test_listed_takes_any_iterable() -> None:
    assert listed(dict.fromkeys("ab")) == listed(iter("ab")) == "a, b"
