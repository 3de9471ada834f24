"""What an epoch spends, operator by operator."""

from __future__ import annotations

import pytest

from benchmarks.epoch import EpochConfig, main, measured


def test_the_kinds_of_operators_make_up_the_epoch() -> None:
    each, spent = measured(EpochConfig(features=8, train=64, epochs=3))
    assert sum(spent.values()) == pytest.approx(each)
    assert {"products", "Adam", "batch norm and ReLU", "masks of dropout", "loss"} <= set(spent)
    assert list(spent.values()) == sorted(spent.values(), reverse=True)


def test_it_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(EpochConfig(features=8, train=64, epochs=2, float32=True))
    assert "| products |" in capsys.readouterr().out
