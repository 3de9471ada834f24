from __future__ import annotations

import pickle

import pytest

from lora_perf.core.errors import LoraPerfError, listed


def error() -> LoraPerfError:
    return LoraPerfError(expected="a zoo", found="nothing", fix="write one")


def test_an_error_says_what_was_expected_found_and_to_do_also_in_another_process() -> None:
    for one in (error(), pickle.loads(pickle.dumps(error()))):
        assert type(one) is LoraPerfError
        assert str(one) == "expected a zoo; found nothing; write one"
        assert (one.expected, one.found, one.fix) == ("a zoo", "nothing", "write one")
    with pytest.raises(TypeError, match="positional"):
        LoraPerfError("a zoo", "nothing", "write one")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", 2], "a, 2"), (["a", "b", "c"], "a, b, c"), (list("abcd"), "a, b, c, ... (4 in all)")],
)
def test_listed_names_are_cut_after_the_limit_with_their_number(names: list[object], text: str) -> None:
    assert listed(names, 3) == listed(iter(names), 3) == text
