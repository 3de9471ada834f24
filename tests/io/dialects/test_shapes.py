"""The shapes of factors: convolutions become matrices, and what is no product is refused."""

from __future__ import annotations

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects import read_names
from tests.io.dialects.headers import entry


def shapes(down: tuple[int, ...], up: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    (found,) = read_names({"m.lora.down.weight": entry(*down), "m.lora.up.weight": entry(*up)}).pairs
    return found.down_shape, found.up_shape


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
def test_convolutions_become_matrices(
    down: tuple[int, ...], up: tuple[int, ...], flat: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    assert shapes(down, up) == flat


def test_ranks_that_disagree_are_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"of one rank for m; found shapes \(4, 6\) and \(5, 3\)"):
        shapes((4, 6), (5, 3))


def test_an_up_with_a_kernel_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"an up \(m, r\) or \(m, r, 1, 1\) of m; found shape \(5, 4, 3, 3\), a kernel"):
        shapes((4, 6, 1, 1), (5, 4, 3, 3))


@pytest.mark.parametrize(("down", "up", "side"), [((4,), (5, 4), "down"), ((4, 6), (), "up"), ((0, 6), (5, 0), "down")])
def test_a_factor_that_is_no_matrix_is_refused(down: tuple[int, ...], up: tuple[int, ...], side: str) -> None:
    with pytest.raises(LoraPerfError, match=f"a {side} of m with at least two axes, none of them empty; found shape"):
        shapes(down, up)
