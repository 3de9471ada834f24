"""Drawings of pages: every value is in one interval, what is drawn is what was given, names mean nothing."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.charts import Bar, Shade, bars, bins, histogram, shades
from lora_perf.core.pages import document, table

NUMBERS = st.lists(st.floats(-1e9, 1e9) | st.floats(1e-12, 1e12), min_size=1, max_size=60)


@given(NUMBERS)
def test_every_value_lies_between_the_edges_of_the_one_interval_that_counts_it(values: list[float]) -> None:
    found = bins(values)
    assert sorted(place for some in found.members for place in some) == list(range(len(values)))
    assert (found.edges[0], found.edges[-1]) == (min(values), max(values))
    assert len(found.edges) == len(found.members) + 1
    for low, high, members in zip(found.edges, found.edges[1:], found.members, strict=False):
        assert all(low <= values[place] <= high for place in members)


def test_values_of_several_sizes_are_counted_by_ratios() -> None:
    found = bins([1.0, 10.0, 1000.0])
    assert found.logarithmic
    ratios = found.edges[1:] / found.edges[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    assert not bins([1.0, 2.0]).logarithmic
    assert not bins([0.0, 1000.0]).logarithmic


def test_a_histogram_tells_counts_and_names() -> None:
    drawn = histogram({"a": 1.0, "<b>": 1.0, "c": 2.0}, "size")
    assert re.findall(r"<title>([^<]*)</title>", drawn) == [
        "1 to 1.125: 2 adapters (a, &lt;b&gt;)",
        "1.875 to 2: 1 adapter (c)",
    ]
    heights = [float(one) for one in re.findall(r'<rect[^>]* height="([^"]*)"', drawn)]
    assert heights[0] == pytest.approx(2 * heights[1])


def test_bars_are_as_long_as_their_values() -> None:
    drawn = bars([Bar("a", 4.0, "four"), Bar("b", 1.0, "one", kind="worst")], "how many")
    long, short = (float(one) for one in re.findall(r'<rect[^>]* width="([^"]*)"', drawn))
    assert long == pytest.approx(4 * short, rel=0.01)
    assert ">four</text>" in drawn


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onload="x', "a & b", "x" * 5000, "\x1b[31m\u202e"])
def test_a_drawing_of_any_name_is_whole(name: str) -> None:
    drawings = [
        histogram({name: 1.0, "b": 2.0}, name),
        bars([Bar(name, 1.0, name, name)], name),
        shades([(name, [Shade(name, 0.5, name)])], [name], name),
    ]
    for drawn in drawings:
        ElementTree.fromstring(drawn)
        assert "<script" not in drawn
        assert "\x1b" not in drawn


def test_a_page_holds_the_scripts_that_its_parts_need() -> None:
    assert "<script>" not in document("x", [table(("a",), [("1",)])])
    assert "localeCompare" in document("x", [table(("a",), [("1",)], kind="sorted long")])
    assert "save as SVG" in document("x", [bars([Bar("a", 1.0, "1")], "b")])
