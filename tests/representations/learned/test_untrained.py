"""What learned representations are held against: networks as they start, random projections and products; by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.core.layout import Layout
from lora_perf.experiment import ExperimentConfig
from lora_perf.experiment.plan import make_plan
from lora_perf.representations import REPRESENTATIONS
from lora_perf.representations.learned.contrastive import EMBEDDED, Encoder
from lora_perf.representations.learned.untrained import beside
from tests.experiment.conftest import small_zoo

TRAIN = torch.arange(0, 40)


@pytest.fixture
def zoo() -> Zoo:
    rows = torch.randn((60, 72), generator=torch.Generator().manual_seed(3))
    rows[:, 5] = 2.0  # a column that does not vary
    shapes = [("a.lora.down.weight", (2, 5)), ("a.lora.up.weight", (6, 2)), ("b.lora.down.weight", (2, 12))]
    layout = Layout([*shapes, ("b.lora.up.weight", (13, 2))])
    return Zoo.from_rows(rows, layout, torch.arange(60) % 3, ["x", "y", "z"], scales=torch.rand(60, 2) + 0.5)


def test_projections_are_those_of_standardised_rows(zoo: Zoo) -> None:
    found = np.asarray(lora_perf.represent(zoo, ["random_projection_7"], train=TRAIN, seed=4)["random_projection_7"])
    rows = zoo.rows.double().numpy()
    train = rows[TRAIN.numpy()]
    vectors = torch.randn((zoo.layout.p, 7), generator=torch.Generator().manual_seed(4), dtype=torch.float64).numpy()
    wanted = np.zeros((60, 7))
    for column in range(zoo.layout.p):
        mean, deviation = train[:, column].mean(), train[:, column].std()
        if column != 5:
            wanted += np.outer((rows[:, column] - mean) / deviation, vectors[column]) / zoo.layout.p**0.5
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_products_are_dealt_among_modules_and_see_the_scale(zoo: Zoo) -> None:
    found = np.asarray(lora_perf.represent(zoo, ["random_products_5"], train=TRAIN, seed=4)["random_products_5"])
    assert zoo.scales is not None
    generator = torch.Generator().manual_seed(4)
    for place, module in enumerate(zoo.layout.modules):
        up = zoo.rows[:, module.up.columns].double().numpy() * zoo.scales[:, place, None].double().numpy()
        down = zoo.rows[:, module.down.columns].double().numpy()
        sizes = [np.sqrt(np.mean(one[TRAIN.numpy()] ** 2)) for one in (up, down)]
        both = np.concatenate([up / sizes[0], down / sizes[1]], axis=1)
        many = len(range(place, 5, 2))
        maps = torch.randn((2, many, both.shape[1]), generator=generator).double().numpy()
        for j in range(many):
            wanted = (both @ maps[0, j]) * (both @ maps[1, j]) / both.shape[1]
            np.testing.assert_allclose(found[:, place + 2 * j], wanted, rtol=1e-3, atol=1e-4)


def test_an_untrained_network_is_the_one_that_training_starts_from(zoo: Zoo) -> None:
    found = lora_perf.represent(zoo, ["contrastive_untrained"], train=TRAIN, seed=4)["contrastive_untrained"]
    other = lora_perf.represent(zoo, ["contrastive"], train=TRAIN, seed=4)["contrastive"]
    assert found.shape == other.shape == (60, EMBEDDED)
    assert not torch.allclose(found.values, other.values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = Encoder(zoo.layout.modules, torch.ones(2, 2), EMBEDDED).eval().double()
    assert zoo.scales is not None
    wanted = []
    for row in range(60):
        products = []
        for place, module in enumerate(zoo.layout.modules):
            up = zoo.rows[:, module.up.columns].double() * zoo.scales[:, place, None].double()
            down = zoo.rows[:, module.down.columns].double()
            both = torch.cat([one[row] / one[TRAIN].square().mean().sqrt() for one in (up, down)])
            products.append((net.maps[place][0] @ both) * (net.maps[place][1] @ both))
        wanted.append(net.embedding(torch.cat(products) / (1 + net.norm.eps) ** 0.5))
    torch.testing.assert_close(found.values.double(), torch.stack(wanted).detach(), rtol=1e-3, atol=1e-4)


def test_controls_have_the_width_of_what_they_stand_beside(zoo: Zoo) -> None:
    for name in ("vae", "denoising", "contrastive", "dw_kernel"):
        for control in beside(name):
            features = lora_perf.represent(zoo, [control], train=TRAIN)[control]
            if control != "random_products":
                assert features.shape[1] in (lora_perf.represent(zoo, [name], train=TRAIN)[name].shape[1], EMBEDDED)


def test_the_plan_has_them_unless_told_otherwise() -> None:
    layout = small_zoo().layout

    def names(**settings: object) -> tuple[str, ...]:
        return make_plan(ExperimentConfig(**settings), layout).representations  # type: ignore[arg-type]

    assert names(representations=("vae",)) == ("vae", "norm", "vae_untrained", "random_projection_64")
    assert names(representations=("stats",)) == ("stats", "norm")
    assert names(representations=("stats",), layer_groups=("all", "up")) == ("stats",)
    assert names(representations=("vae",), controls=()) == ("vae",)
    assert names(representations=("stats",), controls=("rank",)) == ("stats", "rank")
    mixed = make_plan(ExperimentConfig(representations=("dw_kernel",)), layout, one_rank=False)
    assert mixed.representations == ("dw_kernel", "norm")


def test_a_width_that_cannot_be_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="1 to 65,536 random features; found 0"):
        REPRESENTATIONS.named("random_products_0")
