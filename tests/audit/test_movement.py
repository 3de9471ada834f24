"""Movements against their definitions in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_perf.audit import movement
from lora_perf.audit.movement import Ruler, short

N, F = 12, 5
TRAIN = torch.arange(7)
BEFORE, AFTER = torch.tensor([2, 8, 9]), torch.tensor([10, 0, 11])
NAMES = tuple("abcde")


def values() -> torch.Tensor:
    found = torch.randn((N, F), generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10, 100, 0.1, 1])
    found[:7, 4] = 3  # constant on the train rows
    return found


@pytest.mark.parametrize("chunk", [8 * F, 1 << 20], ids=["row by row", "at once"])
def test_movements_follow_their_definitions(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movement, "_CHUNK_NBYTES", chunk)
    ruler = Ruler(values(), TRAIN, NAMES)
    found = ruler.measure(BEFORE, AFTER)
    x = values().double().numpy()
    moved = x[AFTER] - x[BEFORE]
    relative = np.linalg.norm(moved, axis=1) / np.linalg.norm(x[BEFORE], axis=1)
    units = moved[:, :4] / x[:7, :4].std(axis=0)
    by_adapter, by_feature = (np.sqrt(np.mean(units**2, axis=axis)) for axis in (1, 0))
    assert (found.relative.median, found.relative.largest) == pytest.approx((np.median(relative), relative.max()))
    assert found.standardised is not None
    assert found.by_feature is not None
    assert found.standardised.median == pytest.approx(np.median(by_adapter))
    assert found.standardised.largest == pytest.approx(by_adapter.max())
    assert found.by_feature.median == pytest.approx(np.median(by_feature))
    assert found.by_feature.largest == pytest.approx(by_feature.max())
    assert found.most == NAMES[int(by_feature.argmax())]
    assert ruler.constant == 1


def test_nothing_moves_where_rows_are_equal() -> None:
    found = Ruler(values(), TRAIN, NAMES).measure(BEFORE, BEFORE)
    assert found.relative.largest == 0
    assert found.most is None


def test_features_that_were_all_zero_move_by_one_or_not_at_all() -> None:
    x = values()
    x[2], x[8], x[0] = 0, 0, 0
    found = Ruler(x, torch.arange(3, 7), NAMES).measure(torch.tensor([2, 8, 8]), torch.tensor([10, 0, 0]))
    assert (found.relative.median, found.relative.largest) == (0, 1)


def test_constant_features_have_no_standard_deviations() -> None:
    ruler = Ruler(torch.ones(N, F), TRAIN, NAMES)
    found = ruler.measure(BEFORE, AFTER)
    assert (found.standardised, found.by_feature, found.most) == (None, None, None)
    assert ruler.constant == F


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (4.1234e-08, "4.1e-08"), (0.7123, "0.712"), (12345, "1.2e+04")])
def test_movements_are_shown_with_the_digits_that_count(value: float, text: str) -> None:
    assert short(value) == text
