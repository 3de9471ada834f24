"""Names and order of the columns; the choice of layers; blocks; the independence of adapters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf.core.features import Features
from lora_perf.core.zoo import Zoo
from tests.representations.columns import expected_columns
from tests.representations.matrices import REPRESENTATIONS, zoo_of

SHAPES = [(4, 37), (29, 4), (2, 3), (4, 37), (1, 5), (29, 4), (3, 2), (16, 40)]

every_representation = pytest.mark.parametrize("representation", REPRESENTATIONS)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    rng = np.random.default_rng(7)
    return zoo_of([[rng.normal(0.1, 1.0, shape) for shape in SHAPES] for _ in range(9)])


@pytest.fixture(scope="module")
def whole(zoo: Zoo) -> dict[str, Features]:
    """All ten of all layers in one pass."""
    return lora_perf.represent(zoo, list(REPRESENTATIONS))


@every_representation
def test_columns_are_named_by_layer_and_feature_in_order(zoo: Zoo, whole: dict[str, Features], representation: str) -> None:
    features = whole[representation]
    columns = list(expected_columns(representation, zoo.layout))
    assert features.values.shape == (len(zoo), len(columns))
    of_parts = representation == "ensemble"  # whose parts have features of the same name
    expected = [(index, f"{part}.{feature}" if of_parts else feature) for part, index, feature in columns]
    assert list(features.names) == [f"{zoo.layout.layers[index].name}/{feature}" for index, feature in expected]
    assert len(set(features.names)) == len(features.names)
    assert features.layers.tolist() == [index for _, index, _ in columns]
    assert features.layout == zoo.layout


def test_representations_come_by_name_in_the_order_asked_for(zoo: Zoo) -> None:
    names = ["spectral", "flat_vec", "stats"]
    assert list(lora_perf.represent(zoo, names)) == names


def test_flat_vec_is_the_rows(zoo: Zoo, whole: dict[str, Features]) -> None:
    assert_close(whole["flat_vec"].values, zoo.rows, rtol=0, atol=0)


@every_representation
def test_a_representation_is_the_same_in_company(zoo: Zoo, whole: dict[str, Features], representation: str) -> None:
    alone = lora_perf.represent(zoo, [representation])[representation]
    assert alone.names == whole[representation].names
    assert_close(alone.values, whole[representation].values, rtol=0, atol=0)


def test_layers_come_once_and_in_layout_order_whatever_was_asked(zoo: Zoo) -> None:
    layers = zoo.layout.layers
    straight = lora_perf.represent(zoo, ["stats"], layers=[layers[1], layers[4]])["stats"]
    turned = lora_perf.represent(zoo, ["stats"], layers=[layers[4], layers[1], layers[4]])["stats"]
    assert turned.names == straight.names
    assert_close(turned.values, straight.values, rtol=0, atol=0)


def test_the_ensemble_is_its_parts_side_by_side(whole: dict[str, Features]) -> None:
    names = ["spectral", "matrix_norms", "distribution", "frequency", "info_theoretic"]
    assert_close(whole["ensemble"].values, torch.cat([whole[name].values for name in names], dim=1), rtol=0, atol=0)


@every_representation
@pytest.mark.parametrize("group", ["all", "visual", "text", "up", "down", "blocks.1"])
def test_the_features_of_a_layer_group_are_columns_of_those_of_all(
    zoo: Zoo, whole: dict[str, Features], representation: str, group: str
) -> None:
    layers = zoo.layout.group(group)
    chosen = lora_perf.represent(zoo, [representation], layers=layers)[representation]
    selected = whole[representation].select(layers)
    assert len(selected.names) > 0
    assert chosen.names == selected.names
    assert chosen.layers.tolist() == selected.layers.tolist()
    assert_close(chosen.values, selected.values, rtol=0, atol=0)


@every_representation
@pytest.mark.parametrize("rows", [0, 1, 2, 4])
def test_the_size_of_a_block_changes_nothing(zoo: Zoo, whole: dict[str, Features], representation: str, rows: int) -> None:
    blocks = lora_perf.represent(zoo, [representation], block_nbytes=4 * zoo.layout.p * rows + 1)[representation]
    assert_close(blocks.values, whole[representation].values, rtol=2e-6, atol=1e-6)


@every_representation
def test_an_adapter_has_the_same_features_in_every_zoo(zoo: Zoo, whole: dict[str, Features], representation: str) -> None:
    expected = whole[representation].values[4]
    loud = torch.cat([1e18 * zoo.rows[:3], torch.zeros_like(zoo.rows[:2]), zoo.rows[4:5], 1e-18 * zoo.rows[:3]])
    for rows, place in ((zoo.rows[4:5], 0), (loud, 5), (zoo.rows.flip(0), 4)):
        other = Zoo.from_rows(rows, zoo.layout, torch.zeros(len(rows), dtype=torch.int64), ["only"])
        found = lora_perf.represent(other, [representation])[representation].values
        assert_close(found[place], expected, rtol=2e-6, atol=1e-6)


@every_representation
def test_the_rows_are_left_as_they_are(representation: str) -> None:
    zoo = zoo_of([[np.arange(12.0).reshape(3, 4)]])
    before = zoo.rows.clone()
    lora_perf.represent(zoo, [representation])
    assert_close(zoo.rows, before, rtol=0, atol=0)
