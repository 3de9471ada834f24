"""Columns of the representations of dW: names, order, layer groups, blocks, ranks that differ, and what users get wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf import LoraPerfError
from lora_perf.core.features import Features, Part, concatenate
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from lora_perf.representations import count
from lora_perf.representations.kinds import siblings
from tests.oracles_dw import ORACLES
from tests.representations.updates import NAMES, UPDATES, Factors, Shape, factors_of, represented, unsigned, zoo_of

# blocks.0.attn1: q, k, v, out; blocks.0.attn2: q, k, v, out; blocks.1.attn1: q
SHAPES: list[Shape] = [(12, 2, 12)] * 4 + [(12, 2, 12), (12, 2, 7), (12, 2, 7), (12, 2, 12), (9, 3, 9)]

every_update = pytest.mark.parametrize("representation", UPDATES)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    adapters = [[factors_of("normal", shape, 100 * row + place) for place, shape in enumerate(SHAPES)] for row in range(9)]
    return zoo_of(adapters, np.random.default_rng(1).uniform(0.5, 2, (9, len(SHAPES))))


@pytest.fixture(scope="module")
def whole(zoo: Zoo) -> dict[str, Features]:
    """All of them, and two of the factors, in one pass."""
    return lora_perf.represent(zoo, [*UPDATES, "stats", "spectral"])


@every_update
def test_columns_are_named_by_module_and_feature_in_order(zoo: Zoo, whole: dict[str, Features], representation: str) -> None:
    features = whole[representation]
    wanted = []
    for name, (m, r, k) in zip(NAMES, SHAPES, strict=False):
        wanted += [f"unet.{name}/{feature}" for feature in ORACLES[representation](np.ones((m, k)), r, name)]
    if representation == "layer_coupling":
        titles = ["0.attn1.to_q~to_k", "0.attn1.to_k~to_v", "0.attn1.to_v~to_out", "0.attn2.to_q~to_out", "0.attn2.to_k~to_v"]
        wanted += [f"unet.blocks.{title}/{feature}" for title in titles for feature in ("cosine", "reads", "writes")]
    assert list(features.names) == wanted
    assert features.values.shape == (len(zoo), len(wanted))
    assert len(features.layers) == len(wanted)
    assert count(representation, zoo.layout, zoo.layout.layers) == len(wanted)


def test_columns_know_both_layers_of_their_module(zoo: Zoo, whole: dict[str, Features]) -> None:
    first, second = zoo.layout.modules[:2]
    parts = whole["dw_norms"].parts
    assert [len(part.layers) for part in parts] == [2] * len(SHAPES)
    assert set(parts[0].layers) == set(zoo.layout.indices([first.up, first.down]))
    pair = next(part for part in whole["layer_coupling"].parts if "~" in part.title)
    assert set(pair.layers) == set(zoo.layout.indices([first.up, first.down, second.up, second.down]))


@every_update
def test_a_representation_of_dw_is_the_same_in_company(zoo: Zoo, whole: dict[str, Features], representation: str) -> None:
    alone = lora_perf.represent(zoo, [representation])[representation]
    assert alone.names == whole[representation].names
    assert_close(alone.values, whole[representation].values, rtol=0, atol=0)


def test_company_leaves_those_of_the_factors_as_they_are(zoo: Zoo, whole: dict[str, Features]) -> None:
    for name, alone in lora_perf.represent(zoo, ["stats", "spectral"]).items():
        assert_close(alone.values, whole[name].values, rtol=0, atol=0)


@every_update
@pytest.mark.parametrize("group", ["all", "visual", "text", "blocks.0", "attn1.to_q"])
def test_features_of_a_layer_group_are_columns_of_those_of_all(
    zoo: Zoo, whole: dict[str, Features], representation: str, group: str
) -> None:
    layers = zoo.layout.group(group)
    chosen = lora_perf.represent(zoo, [representation], layers=layers)[representation]
    selected = whole[representation].select(layers)
    assert 0 < len(selected.names) == count(representation, zoo.layout, layers)
    assert chosen.names == selected.names
    assert_close(chosen.values, selected.values, rtol=1e-6, atol=1e-6)


def test_a_module_is_chosen_only_with_both_sides(zoo: Zoo, whole: dict[str, Features]) -> None:
    layers = (*zoo.layout.group("attn1.to_q"), zoo.layout.modules[1].up)
    names = whole["dw_norms"].select(layers).names
    assert {name.rpartition("/")[0] for name in names} == {f"unet.{NAMES[0]}", f"unet.{NAMES[8]}"}
    assert lora_perf.represent(zoo, ["dw_norms"], layers=layers)["dw_norms"].names == names


def test_a_pair_is_chosen_only_with_both_modules(zoo: Zoo, whole: dict[str, Features]) -> None:
    layers = (*zoo.layout.group("attn1.to_q"), *zoo.layout.group("attn1.to_v"))  # neighbours of to_k, not of each other
    assert not any("~" in part.title for part in whole["layer_coupling"].select(layers).parts)
    both = (*layers, *zoo.layout.group("attn1.to_k"))
    assert sum("~" in part.title for part in whole["layer_coupling"].select(both).parts) == 2


@every_update
@pytest.mark.parametrize("side", ["up", "down"])
def test_one_side_has_no_features_of_dw(zoo: Zoo, whole: dict[str, Features], representation: str, side: str) -> None:
    layers = zoo.layout.group(side)
    with pytest.raises(LoraPerfError, match="need both the up and the down of a module"):
        whole[representation].select(layers)
    with pytest.raises(LoraPerfError, match=f"{representation} can be made of .*need both the up and the down"):
        lora_perf.represent(zoo, [representation], layers=layers)
    with pytest.raises(LoraPerfError, match="need both the up and the down"):
        count(representation, zoo.layout, layers)


def test_a_layout_without_a_complete_module_has_no_features_of_dw() -> None:
    layout = Layout([("a.to_q.lora.down.weight", (2, 5)), ("a.to_v.lora.up.weight", (7, 2))])
    zoo = Zoo.from_rows(torch.ones(3, layout.p), layout, torch.zeros(3, dtype=torch.int64), ["only"])
    with pytest.raises(LoraPerfError, match=r"need both the up and the down of a module.*choose a layer group"):
        lora_perf.represent(zoo, ["stats", "dw_spectrum"])


def test_features_of_one_module_can_be_joined_to_those_of_layers(whole: dict[str, Features]) -> None:
    joined = concatenate({name: whole[name] for name in ("stats", "dw_norms")})
    layers = joined.layout.group("up")
    assert joined.select(layers).names == tuple(name.replace("/", "/stats.") for name in whole["stats"].select(layers).names)
    assert f"unet.{NAMES[0]}/dw_norms.frobenius" in joined.names


@every_update
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_size_of_a_block_changes_nothing(zoo: Zoo, whole: dict[str, Features], representation: str, rows: int) -> None:
    blocks = lora_perf.represent(zoo, [representation], block_nbytes=4 * zoo.layout.p * rows + 1)[representation]
    assert_close(blocks.values, whole[representation].values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(zoo: Zoo, whole: dict[str, Features], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = lora_perf.represent(zoo, UPDATES)
    finally:
        torch.set_num_threads(before)
    for name, one in found.items():
        assert_close(one.values, whole[name].values, rtol=1e-5, atol=1e-5)


def mixed_ranks() -> tuple[Zoo, list[list[Factors]]]:
    """Adapters of ranks 1, 3 and 2, filled to rank 3, and the factors of each as they were."""
    alone, filled = [], []
    for seed, r in enumerate((1, 3, 2)):
        pairs = [factors_of("normal", (8, r, 8), seed), factors_of("normal", (8, r, 8), seed + 10)]
        alone.append(pairs)
        filled.append([(np.pad(up, ((0, 0), (0, 3 - r))), np.pad(down, ((0, 3 - r), (0, 0)))) for up, down in pairs])
    return zoo_of(filled, ranks=np.array([[1, 1], [3, 3], [2, 2]])), alone


@every_update
def test_adapters_of_different_ranks_have_the_features_that_they_have_alone(representation: str) -> None:
    zoo, alone = mixed_ranks()
    found = lora_perf.represent(zoo, [representation])[representation]
    for row, pairs in enumerate(alone):
        wanted = represented([pairs], representation)
        columns = [found.names.index(name) for name in wanted.names]
        pair = unsigned(representation, found.values[row, columns]), unsigned(representation, wanted.values[0])
        assert_close(*pair, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("representation", ["stats", "flat_vec", "ensemble"])
def test_adapters_of_different_ranks_have_no_features_of_their_factors(representation: str) -> None:
    with pytest.raises(LoraPerfError, match=rf"one rank for {representation}.*ranks from 1 to 3.*choose among .*dw_spectrum"):
        lora_perf.represent(mixed_ranks()[0], ["dw_norms", representation])


def test_a_scale_that_is_not_finite_is_located() -> None:
    pair = factors_of("normal", (4, 1, 4))
    zoo = zoo_of([[pair, pair], [pair, pair]], np.array([[1, 1], [1, np.nan]]))
    with pytest.raises(LoraPerfError, match=rf"finite scales; found nan in adapter 1, module unet.{re.escape(NAMES[1])}"):
        lora_perf.represent(zoo, ["dw_norms"])


@every_update
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_entry_that_is_not_finite_is_located(representation: str, value: float) -> None:
    up, down = factors_of("normal", (5, 2, 5))
    bad = up.copy()
    bad[3, 1] = value
    with pytest.raises(LoraPerfError, match=r"in adapter 1, layer unet\.blocks\.0\.attn1\.to_q\.lora\.up\.weight"):
        lora_perf.represent(zoo_of([[(up, down)], [(bad, down)], [(up, down)]]), [representation])


def test_siblings_are_neighbours_of_one_parent_and_shape(zoo: Zoo) -> None:
    found = [(one.name.removeprefix("unet."), two.name.removeprefix("unet.")) for one, two in siblings(zoo.layout)]
    places = [(0, 1), (1, 2), (2, 3), (4, 7), (5, 6)]
    assert found == [(NAMES[i], NAMES[j]) for i, j in places]


def test_a_part_belongs_to_the_first_of_its_layers() -> None:
    layout = Layout([("a.lora.down.weight", (1, 2)), ("a.lora.up.weight", (2, 1))])
    features = Features(torch.zeros(1, 3), layout, (Part((1, 0), "a", ("x", "y")), Part((1,), "b", ("z",))))
    assert features.layers.tolist() == [0, 0, 1]
    assert features.names == ("a/x", "a/y", "b/z")


def test_a_coupling_of_one_update_that_is_not_square_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="needs an update as wide as it is tall, or two neighbours of one shape"):
        lora_perf.represent(zoo_of([[factors_of("normal", (6, 2, 5))]]), ["layer_coupling"])
