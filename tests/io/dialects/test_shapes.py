"""The shapes of factors: convolutions become matrices, and what is no product is refused."""

from __future__ import annotations

import pytest

from lora_perf.io.dialects import read_names
from tests.io.dialects.headers import entry, refuses

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("down", "up", "flat"),
    [
        ((4, 6), (5, 4), ((4, 6), (5, 4))),
        ((4, 6, 3, 3), (5, 4, 1, 1), ((4, 54), (5, 4))),
        ((4, 6, 3, 3), (5, 4), ((4, 54), (5, 4))),
        ((4, 6, 1, 1), (5, 4, 1, 1), ((4, 6), (5, 4))),
        ((4, 6, 3), (5, 4, 1), ((4, 18), (5, 4))),
        ((4, 6, 2, 3, 3), (5, 4, 1, 1, 1), ((4, 108), (5, 4))),
    ],
)
def test_convolutions_become_matrices(down: Shape, up: Shape, flat: tuple[Shape, Shape]) -> None:
    (found,) = read_names({"m.lora.down.weight": entry(*down), "m.lora.up.weight": entry(*up)}).pairs
    assert (found.down_shape, found.up_shape) == flat


EMPTY = "of m with at least two axes, none of them empty; found shape"


@pytest.mark.parametrize(
    ("down", "up", "message"),
    [
        ((4, 6), (5, 3), r"of one rank for m; found shapes \(4, 6\) and \(5, 3\)"),
        ((4, 6, 1, 1), (5, 4, 3, 3), r"an up \(m, r\) or \(m, r, 1, 1\) of m; found shape \(5, 4, 3, 3\), a kernel"),
        ((4,), (5, 4), f"a down {EMPTY}"),
        ((4, 6), (), f"an? up {EMPTY}"),
        ((0, 6), (5, 0), f"a down {EMPTY}"),
    ],
)
def test_factors_without_a_product_are_refused(down: Shape, up: Shape, message: str) -> None:
    refuses({"m.lora.down.weight": entry(*down), "m.lora.up.weight": entry(*up)}, message)
