"""What all learned representations keep to: train rows alone, seeds, and errors that say what was wrong."""

from __future__ import annotations

import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.representations import members
from lora_perf.representations.learned import networks
from tests.conftest import MakeZoo
from tests.representations.learned.updates import learn

LEARNED = members("learned")
TRAIN = torch.tensor([1, 2, 4, 5, 7, 9, 10, 12, 13, 15])
OTHERS = torch.tensor([0, 3, 6, 8, 11, 14, 16, 17])
pytestmark = pytest.mark.usefixtures("_few_epochs")


@pytest.fixture
def _few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_EPOCHS", 3)


@pytest.mark.parametrize("name", LEARNED)
def test_rows_that_are_not_for_training_leave_the_others_as_they_are(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    changed = zoo.rows.clone()
    changed[OTHERS] = 100 * torch.randn((8, 26), generator=torch.Generator().manual_seed(9))
    other = Zoo.from_rows(changed, zoo.layout, zoo.labels, zoo.classes)
    found, again = (learn(one, name, train=TRAIN).values for one in (zoo, other))
    torch.testing.assert_close(again[TRAIN], found[TRAIN], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(again[OTHERS], found[OTHERS], rtol=0.1)


@pytest.mark.parametrize("name", LEARNED)
def test_the_features_of_one_seed_are_the_same_in_any_order_of_the_train_rows(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    found = learn(zoo, name, train=TRAIN, seed=3)
    assert torch.equal(learn(zoo, name, train=TRAIN.flip(0), seed=3).values, found.values)


@pytest.mark.parametrize("name", ["vae", "denoising", "contrastive"])
def test_another_seed_is_another_network(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    assert not torch.allclose(learn(zoo, name, train=TRAIN, seed=1).values, learn(zoo, name, train=TRAIN, seed=2).values)


@pytest.mark.parametrize("name", LEARNED)
def test_a_column_belongs_to_all_chosen_layers(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    found = learn(zoo, name, train=TRAIN, layers=zoo.layout.group("visual")[::-1], dimensions=2)
    assert found.values.dtype == torch.float32
    assert found.values.shape == (18, 2)
    assert found.names == (f"{name}/0", f"{name}/1")
    assert found.parts[0].layers == (0, 1)
    assert found.select(zoo.layout.group("visual")) is found
    with pytest.raises(LoraPerfError):
        found.select(zoo.layout.layers[:1])


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("row", [4, 16], ids=["train row", "other row"])
def test_a_weight_that_is_not_finite_is_refused(name: str, row: int, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    zoo.rows[row, 7] = torch.nan
    found = rf"finite weights; found 1 of \d+ entries NaN in adapter {row}, layer unet.mid_block.attn1.to_q.lora.up.weight"
    with pytest.raises(LoraPerfError, match=found):
        learn(zoo, name, train=TRAIN)


@pytest.mark.parametrize("name", LEARNED)
def test_columns_that_do_not_vary_do_no_harm(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    zoo.rows[:, 0:6] = 0.25
    zoo.rows[:, 14:26] = 0
    assert torch.isfinite(learn(zoo, name, train=TRAIN).values).all()


@pytest.mark.parametrize("name", ["pca", "vae", "denoising", "dw_kernel"])
def test_equal_train_rows_are_refused(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    zoo.rows[TRAIN] = zoo.rows[0].clone()
    with pytest.raises(LoraPerfError, match="expected train adapters that differ; found 10 equal ones"):
        learn(zoo, name, train=TRAIN)


@pytest.mark.parametrize("name", ["pca", "dw_kernel"])
def test_more_dimensions_than_directions_are_refused(name: str, random_zoo: MakeZoo) -> None:
    with pytest.raises(LoraPerfError, match=r"at most 9 dimensions.*found 10; ask for fewer"):
        learn(random_zoo(18), name, train=TRAIN, dimensions=10)


@pytest.mark.parametrize(
    ("train", "dimensions", "told"),
    [
        (TRAIN.tolist(), 0, "expected at least one dimension; found 0"),
        ([], None, "at least 3 different train rows; found 0"),
        ([1, 2], None, "at least 3 different train rows; found 2"),
        ([1, 2, 2, 1], None, "at least 3 different train rows; found 2"),
        ([1, 2, 3, -1], None, "train rows from 0 to 17; found rows from"),
        ([1, 2, 3, 18], None, "train rows from 0 to 17; found rows from"),
        ([True] * 17, None, r"row numbers, a slice, or 18 booleans; found bool of shape \(17,\)"),
    ],
)
def test_what_nothing_can_be_fitted_to_is_refused(
    train: list[int], dimensions: int | None, told: str, random_zoo: MakeZoo
) -> None:
    rows = torch.tensor(train, dtype=None if train else torch.int64)
    with pytest.raises(LoraPerfError, match=told):
        learn(random_zoo(18), "pca", train=rows, dimensions=dimensions)


@pytest.mark.parametrize("name", LEARNED)
def test_three_train_rows_are_enough(name: str, random_zoo: MakeZoo) -> None:
    assert torch.isfinite(learn(random_zoo(18), name, train=TRAIN[:3]).values).all()


def test_a_mask_stands_for_its_rows(random_zoo: MakeZoo) -> None:
    zoo, mask = random_zoo(18), torch.isin(torch.arange(18), TRAIN)
    assert torch.equal(learn(zoo, "pca", train=mask).values, learn(zoo, "pca", train=TRAIN).values)


@pytest.mark.parametrize("name", ["pca", "vae", "denoising", "contrastive"])
def test_adapters_of_different_ranks_are_refused_where_columns_are_compared(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    ranks = torch.tensor([[1, 2]] * 18)
    mixed = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, ranks=ranks)
    with pytest.raises(LoraPerfError, match=f"one rank for {name}, .*; found ranks from 1 to 2; choose among .*dw_kernel"):
        learn(mixed, name, train=TRAIN)
