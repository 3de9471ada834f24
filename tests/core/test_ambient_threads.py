"""Threads that a caller asks for, inside a block and no longer."""

from __future__ import annotations

import pytest
import torch

import lora_perf
from lora_perf.core.ambient import with_threads
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.threads import each_on_a_core
from lora_perf.experiment.__main__ import main


def test_threads_are_as_many_as_before_once_the_block_ends() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with with_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
    with with_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_other_numbers_are_refused(count: int) -> None:
    with pytest.raises(LoraPerfError, match="--threads of at least 1"), with_threads(count):
        pass


def test_results_say_how_many_and_do_not_follow_it() -> None:
    found = {}
    for count in (1, 3):
        results = lora_perf.experiment.run(
            "digits", representations=["stats"], layer_groups=["all"], num_runs=2, epochs=2, hidden_dim=16, threads=count
        )
        assert results.machine["torch_threads"] == count
        found[count] = [run.accuracy for cell in results.cells for run in cell.runs]
    assert found[1] == found[3]


def test_a_command_refuses_none_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--threads", "0", "--dry-run"]) == 2
    assert "--threads of at least 1" in capsys.readouterr().err


def test_each_on_a_core_is_called_once_with_one_thread_and_leaves_the_number_as_it_was() -> None:
    before = torch.get_num_threads()
    seen: list[tuple[int, int]] = []
    each_on_a_core(lambda i: seen.append((i, torch.get_num_threads())), 7)
    assert sorted(seen) == [(i, 1) for i in range(7)]
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        each_on_a_core(lambda i: 1 // i, 3)
    assert torch.get_num_threads() == before
