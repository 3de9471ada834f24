"""The one grammar of names: tables, files and layouts take the same names for factors."""

from __future__ import annotations

import pytest

from lora_perf.core.layout import parse_name
from lora_perf.core.names import alpha_base, parse_factor
from lora_perf.io.dialects.names import parse_part
from tests.io.dialects.headers import SPELLINGS

NAMES = [name for spelling in SPELLINGS.values() for name in spelling[1:3]]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_a_file_may_have_is_a_layer_of_a_table_too(name: str) -> None:
    part = parse_part(name)
    parsed = parse_name(name)
    assert part is not None
    assert parsed is not None
    assert part.side == parsed[1]


@pytest.mark.parametrize("name", ["a.lora_a", "a.lora_b"])
def test_a_transposed_factor_is_no_layer(name: str) -> None:
    factor = parse_factor(name)
    assert factor is not None
    assert factor.transposed
    assert parse_name(name) is None


@pytest.mark.parametrize(
    ("name", "base"),
    [("a.alpha", "a"), ("a.b.lora_alpha", "a.b"), ("a.network_alpha", "a"), ("alpha", None), ("a.alphas", None)],
)
def test_what_stands_before_an_alpha_is_its_module(name: str, base: str | None) -> None:
    assert alpha_base(name) == base
