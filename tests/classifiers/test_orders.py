"""Orders of the train rows: permutations, of all rows or window by window."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.classifiers.perceptron import orders
from lora_perf.classifiers.perceptron.orders import order
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.classifiers.perceptron.runs import train
from lora_perf.core.errors import LoraPerfError
from tests.classifiers.problems import problem


def _order(train_rows: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    return order(train_rows, torch.Generator().manual_seed(seed), epoch, "windows")


@given(n=st.integers(1, 400), seed=st.integers(0, 9), epoch=st.integers(1, 9), shuffle=st.sampled_from(["rows", "windows"]))
def test_each_row_comes_once(n: int, seed: int, epoch: int, shuffle: str) -> None:
    rows = torch.randperm(2 * n)[:n]
    found = order(rows, torch.Generator().manual_seed(seed), epoch, shuffle)  # type: ignore[arg-type]
    assert torch.equal(found.sort().values, torch.arange(n))


def test_a_window_is_blocks_of_the_file_that_all_runs_share_and_each_mixes() -> None:
    rows = torch.randperm(3000)[:2560]  # 40 blocks, windows of four of them
    ranks = rows.argsort().argsort()  # the place of each train row in the file
    first, second = (ranks[_order(rows, seed, 1)].split(256) for seed in (1, 2))
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.sort().values, two.sort().values)
        assert not torch.equal(one, two)
        assert len((one // 64).unique()) == 4, "whole blocks"
    later = ranks[_order(rows, 1, 2)].split(256)
    assert not all(torch.equal(one.sort().values, two.sort().values) for one, two in zip(first, later, strict=True))


def test_the_default_is_what_it_was() -> None:
    found = order(torch.arange(50), torch.Generator().manual_seed(4), 3, "rows")
    assert torch.equal(found, torch.randperm(50, generator=torch.Generator().manual_seed(4)))


def test_windows_learn_what_rows_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted signal that both find on every test row, also where the rows stand in the order of their classes."""
    monkeypatch.setattr(orders, "_BLOCK", 2)
    values, labels, split = problem(12, signal=6.0)
    ascending = labels.argsort(stable=True)
    config = TrainingConfig(hidden=24, epochs=30, batch_size=8)
    for rows in (torch.arange(90), ascending):
        for shuffle in ("rows", "windows"):
            found = train(values[rows], labels[rows], split, 3, (1, 2), replace(config, shuffle=shuffle))
            assert (found.predictions == labels[rows][split.test]).double().mean() > 0.9


def test_another_shuffle_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"shuffle \(--shuffle\) one of rows, windows"):
        TrainingConfig(shuffle="blocks")  # type: ignore[arg-type]
