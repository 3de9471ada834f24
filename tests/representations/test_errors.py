"""What a user can get wrong: names, and entries that are no numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf import LoraPerfError
from tests.representations.matrices import REPRESENTATIONS, zoo_of

SHAPES = [(4, 37), (29, 4), (4, 37), (1, 5)]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_an_entry_that_is_not_finite_is_located(representation: str, value: float) -> None:
    check_located(representation, value, rows_of_a_block=7)


@pytest.mark.parametrize("rows_of_a_block", [1, 17, 18, 1000])
def test_an_entry_that_is_not_finite_is_located_in_blocks_of_any_size(rows_of_a_block: int) -> None:
    check_located("stats", np.nan, rows_of_a_block)


def check_located(representation: str, value: float, rows_of_a_block: int) -> None:
    rng = np.random.default_rng(3)
    adapters = [[rng.normal(size=shape) for shape in SHAPES] for _ in range(20)]
    adapters[17][2][3, 30] = value
    zoo = zoo_of(adapters)
    layer = zoo.layout.layers[2].name
    with pytest.raises(LoraPerfError, match=rf"(?=.*\b17\b)(?=.*{re.escape(layer)})"):
        lora_perf.represent(zoo, [representation], block_nbytes=4 * zoo.layout.p * rows_of_a_block)


def test_infinities_of_both_signs_do_not_cancel() -> None:
    zoo = zoo_of([[np.array([[1.0, 2.0]])], [np.array([[np.inf, -np.inf]])]])
    with pytest.raises(LoraPerfError, match=r"\b1\b"):
        lora_perf.represent(zoo, ["stats"])


def test_large_entries_whose_sum_overflows_are_no_error() -> None:
    zoo = zoo_of([[np.full((4, 37), 3e38)], [np.full((4, 37), -3e38)]])
    assert_close(lora_perf.represent(zoo, ["stats"])["stats"].values[:, 0], torch.tensor([3e38, -3e38]))


def test_the_layer_of_an_entry_that_is_not_finite_is_not_taken_for_another_of_its_shape() -> None:
    adapters = [[np.ones(shape) for shape in SHAPES] for _ in range(3)]
    adapters[1][0][0, 0] = np.nan
    zoo = zoo_of(adapters)
    with pytest.raises(LoraPerfError) as caught:
        lora_perf.represent(zoo, ["stats"])
    assert zoo.layout.layers[0].name in str(caught.value)
    assert zoo.layout.layers[2].name not in str(caught.value)


@pytest.mark.parametrize("name", ["nosuch", "", "Stats", "stats "])
def test_an_unknown_representation_is_answered_with_the_known_ones(name: str) -> None:
    zoo = zoo_of([[np.ones((2, 3))]])
    with pytest.raises(LoraPerfError, match=re.escape(repr(name))) as caught:
        lora_perf.represent(zoo, ["stats", name])
    assert [known for known in REPRESENTATIONS if known not in str(caught.value)] == []


def test_a_bare_name_in_place_of_a_list_is_told() -> None:
    with pytest.raises(LoraPerfError, match=r"write \['stats'\]"):
        lora_perf.represent(zoo_of([[np.ones((2, 3))]]), "stats")


def test_no_layer_and_layers_of_another_zoo_are_refused() -> None:
    zoo, other = zoo_of([[np.ones((2, 3))]]), zoo_of([[np.ones((4, 5))]])
    with pytest.raises(LoraPerfError, match="found none"):
        lora_perf.represent(zoo, ["stats"], layers=())
    with pytest.raises(LoraPerfError, match="1 of another zoo"):
        lora_perf.represent(zoo, ["stats"], layers=other.layout.layers)
