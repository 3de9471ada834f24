"""Which columns hold factors: their products are the updates of the zoo."""

from __future__ import annotations

import pytest
import torch

import lora_perf
from lora_perf.core.features import Features
from lora_perf.core.zoo import Zoo


@pytest.fixture(scope="module", params=["digits", "digits-mixed"])
def zoo(request: pytest.FixtureRequest) -> Zoo:
    return lora_perf.load(request.param)[:40]


def of(zoo: Zoo, name: str) -> Features:
    return lora_perf.represent(zoo, [name], train=range(20))[name]


@pytest.mark.parametrize("name", ["dw_canonical", "flat_vec"])
def test_products_of_factors_are_the_updates(zoo: Zoo, name: str) -> None:
    features = of(zoo, name)
    assert len(features.factors) == len(zoo.layout.modules)
    rows = of(zoo, "flat_vec").values.double()
    for i, (one, module) in enumerate(zip(features.factors, zoo.layout.modules, strict=True)):
        assert (one.m, one.k) == module.shape
        up, down = one.of(features.values.double())
        b, a = (rows[:, side.columns].unflatten(1, side.shape) for side in (module.up, module.down))
        scale = 1 if name == "flat_vec" or zoo.scales is None else zoo.scales[:, i].double()[:, None, None]
        wanted = scale * (b @ a)
        # Features are float32, so products of r of them are near 1e-6 of the largest.
        torch.testing.assert_close(up.mT @ down, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["stats", "dw_sketch", "dw_projector", "dw_singular_values", "ensemble"])
def test_other_features_hold_none(name: str) -> None:
    assert of(lora_perf.load("digits")[:40], name).factors == ()


def test_factors_follow_a_choice_of_layers(zoo: Zoo) -> None:
    features = of(zoo, "flat_vec")
    assert features.select(zoo.layout.group("up")).factors == ()
    some = features.select(zoo.layout.group("attn1.to_q"))
    assert len(some.factors) == 3
    module = next(one for one in zoo.layout.modules if one.name.endswith("attn1.to_q"))
    up, _ = some.factors[0].of(some.values)
    rows = features.values[:, module.up.columns].unflatten(1, module.up.shape)
    assert torch.equal(up, rows.mT)
