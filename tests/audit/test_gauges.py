"""Gauges change factors and leave updates alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lora_perf.audit import GAUGES, rounding, with_gauges
from lora_perf.audit.gauges import CONDITION, RESCALING, regauged
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from tests.audit.zoos import random_zoo
from tests.representations.learned.updates import flattened

every_gauge = pytest.mark.parametrize("gauge", GAUGES)


def in_gauge(zoo: Zoo, gauge: str, seed: int = 0) -> Tensor:
    """Rows (n, p) float64 of all adapters of a zoo in one gauge, before they are rounded."""
    rows = torch.from_numpy(zoo.source.matrix()).double()
    moved = rows.clone()
    for pair in regauged(rows, zoo.layout, GAUGES[gauge], torch.arange(len(zoo)), seed, zoo.ranks):
        moved[:, pair.module.up.columns] = pair.up.flatten(1)
        moved[:, pair.module.down.columns] = pair.down.flatten(1)
    return moved


def turns(zoo: Zoo, gauge: str) -> Tensor:
    """G (n, r, r) of the first module: the least-squares solution of B G = B'."""
    module = zoo.layout.modules[0]
    before, after = (x[:, module.up.columns].unflatten(1, module.up.shape) for x in (zoo.rows.double(), in_gauge(zoo, gauge)))
    return torch.linalg.lstsq(before, after).solution


@settings(max_examples=40)
@given(gauge=st.sampled_from(sorted(GAUGES)), rank=st.integers(1, 5), m=st.integers(1, 9), k=st.integers(1, 9))
def test_updates_stay_as_they_are(gauge: str, rank: int, m: int, k: int) -> None:
    zoo = random_zoo(5, rank, m, k, scaled=True)
    before = flattened(zoo)
    np.testing.assert_allclose(flattened(zoo, in_gauge(zoo, gauge).numpy()), before, rtol=0, atol=1e-12 * np.abs(before).max())


@every_gauge
def test_updates_of_mixed_ranks_stay_and_padding_stays_zero(gauge: str) -> None:
    zoo = random_zoo(mixed=True)
    rows, moved = zoo.source.matrix(), in_gauge(zoo, gauge).numpy()
    np.testing.assert_allclose(flattened(zoo, moved), flattened(zoo, rows), rtol=0, atol=1e-12)
    assert np.array_equal(moved == 0, rows == 0)


@every_gauge
def test_factors_do_change(gauge: str) -> None:
    zoo = random_zoo()
    moved = in_gauge(zoo, gauge)
    for module in zoo.layout.modules:
        for layer in (module.up, module.down):
            changed = (moved[:, layer.columns] != zoo.rows[:, layer.columns]).any(dim=1)
            assert float(changed.double().mean()) > 0.7  # of signs one adapter in eight keeps all three


@every_gauge
def test_the_given_rows_are_not_written_to(gauge: str) -> None:
    zoo = random_zoo()
    rows = zoo.rows.double()
    before = rows.clone()
    list(regauged(rows, zoo.layout, GAUGES[gauge], torch.arange(len(zoo)), 0))
    torch.testing.assert_close(rows, before, rtol=0, atol=0)


@every_gauge
def test_a_layer_without_a_partner_stays(gauge: str) -> None:
    zoo = random_zoo()
    alone = zoo.layout["alone.lora.up.weight"].columns
    torch.testing.assert_close(in_gauge(zoo, gauge)[:, alone], zoo.rows[:, alone].double(), rtol=0, atol=0)


def test_an_invertible_gauge_is_general_and_well_conditioned() -> None:
    found = turns(random_zoo(200), "invertible")
    conditions = torch.linalg.cond(found)
    assert float(conditions.max()) <= CONDITION * (1 + 1e-9)
    assert float(conditions.max()) > 0.7 * CONDITION
    off_diagonal = found - torch.diag_embed(found.diagonal(dim1=1, dim2=2))
    assert float(off_diagonal.flatten(1).norm(dim=1).min()) > 1e-3


def test_at_rank_1_the_factor_has_either_sign() -> None:
    found = turns(random_zoo(200, rank=1), "invertible").flatten()
    assert 60 < int((found < 0).sum()) < 140
    sizes = found.abs()
    assert float(sizes.min()) * (1 + 1e-9) >= CONDITION**-0.5
    assert float(sizes.max()) <= CONDITION**0.5 * (1 + 1e-9)
    assert float(sizes.min()) < 0.5
    assert float(sizes.max()) > 2


def test_signs_flip_half_of_the_components() -> None:
    found = turns(random_zoo(200), "signs")
    flips = found.diagonal(dim1=1, dim2=2).round()
    torch.testing.assert_close(found, torch.diag_embed(flips), rtol=0, atol=1e-9)
    assert set(flips.unique().tolist()) == {-1.0, 1.0}
    assert 0.4 < float((flips < 0).double().mean()) < 0.6


def test_balanced_factors_have_one_norm() -> None:
    zoo = random_zoo()
    moved = in_gauge(zoo, "balanced")
    for module in zoo.layout.modules:
        torch.testing.assert_close(moved[:, module.up.columns].norm(dim=1), moved[:, module.down.columns].norm(dim=1))


def test_balancing_leaves_an_update_of_zero_alone() -> None:
    zoo = random_zoo()
    zoo.rows[3, zoo.layout.modules[0].up.columns] = 0
    columns = zoo.layout.modules[0].down.columns
    torch.testing.assert_close(in_gauge(zoo, "balanced")[3, columns], zoo.rows[3, columns].double(), rtol=0, atol=0)


def test_rescaling_is_by_one_factor_within_its_bounds() -> None:
    found = turns(random_zoo(200), "rescaled")
    factors = found[:, 0, 0]
    torch.testing.assert_close(found, factors[:, None, None] * torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-9)
    assert 1 / RESCALING <= float(factors.min()) < 0.2
    assert 5 < float(factors.max()) <= RESCALING


def test_gauges_follow_the_seed() -> None:
    zoo = random_zoo()
    torch.testing.assert_close(in_gauge(zoo, "invertible", 7), in_gauge(zoo, "invertible", 7), rtol=0, atol=0)
    assert not torch.equal(in_gauge(zoo, "invertible", 7), in_gauge(zoo, "invertible", 8))


def test_the_larger_zoo_holds_the_adapters_and_then_each_gauge_in_float32() -> None:
    zoo, adapters = random_zoo(scaled=True), torch.tensor([5, 30, 2])
    both = with_gauges(zoo, adapters, 0)
    blocks = [zoo.rows, *(in_gauge(zoo, gauge)[adapters].float() for gauge in GAUGES)]
    torch.testing.assert_close(both.rows, torch.cat(blocks), rtol=0, atol=0)
    again = torch.cat([torch.arange(40), adapters.repeat(len(GAUGES))])
    torch.testing.assert_close(both.labels, again % 3)
    assert both.scales is not None
    assert zoo.scales is not None
    torch.testing.assert_close(both.scales, zoo.scales[again])


def test_any_part_of_the_larger_zoo_can_be_read_alone() -> None:
    zoo = random_zoo(mixed=True)
    both = with_gauges(zoo, torch.tensor([5, 30, 2]), 0)
    whole = both.source.matrix()
    for start, stop in ((0, 3), (38, 45), (41, 42), (44, len(both)), (7, 7)):
        part = np.empty((stop - start, zoo.layout.p), np.float32)
        both.source.read(start, stop, part)
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("mixed", [False, True])
@every_gauge
def test_rounding_is_what_float32_factors_do_to_the_update(gauge: str, mixed: bool) -> None:
    zoo = random_zoo(scaled=True, mixed=mixed)
    exact = flattened(zoo, in_gauge(zoo, gauge).numpy())
    moved = flattened(zoo, in_gauge(zoo, gauge).float().numpy()) - exact
    found = rounding(zoo, GAUGES[gauge], torch.arange(len(zoo)), 0, zoo.layout.layers)
    expected = np.linalg.norm(moved, axis=1) / np.linalg.norm(exact, axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-15)
    assert (float(found.max()) == 0) == (gauge == "signs")
    assert float(found.max()) < 1e-6


def test_rounding_of_a_group_is_that_of_its_modules() -> None:
    zoo = random_zoo()
    module = zoo.layout.modules[1]
    alone = Layout([(layer.name, layer.shape) for layer in (module.down, module.up)])
    columns = torch.cat([torch.arange(layer.start, layer.stop) for layer in (module.down, module.up)])
    one = Zoo.from_rows(zoo.rows[:, columns], alone, zoo.labels, zoo.classes)
    adapters = torch.arange(len(zoo))
    found = rounding(zoo, GAUGES["balanced"], adapters, 0, zoo.layout.group("b"))
    torch.testing.assert_close(found, rounding(one, GAUGES["balanced"], adapters, 0, alone.layers))
