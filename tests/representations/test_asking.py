"""What `represent` is asked for: sets, layer groups, train rows of any kind, and what a caller has set for all of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf import LoraPerfError
from lora_perf.core.features import Features
from lora_perf.representations import members

ZOO = lora_perf.load("digits")[:60]


def same(one: Features, other: Any) -> None:
    torch.testing.assert_close(one.values, other.values, rtol=0, atol=0)


def test_a_set_stands_for_its_members() -> None:
    assert tuple(lora_perf.represent(ZOO, ["dw", "stats", "rank"])) == (*members("dw"), "stats", "rank")


def test_the_name_of_a_layer_group_stands_for_its_layers() -> None:
    by_name = lora_perf.represent(ZOO, ["stats"], layers="visual")["stats"]
    same(by_name, lora_perf.represent(ZOO, ["stats"], layers=ZOO.layout.group("visual"))["stats"])


@pytest.mark.parametrize("kind", [list, np.array, lambda rows: rows, lambda rows: np.isin(range(60), rows)])
def test_train_rows_are_given_as_rows_are_chosen(kind: Any) -> None:
    expected = lora_perf.represent(ZOO, ["pca"], train=torch.arange(40))["pca"]
    same(lora_perf.represent(ZOO, ["pca"], train=kind(range(40)))["pca"], expected)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"zoo": "digits"}, r"a Zoo to represent; found a value of type str; open it first: lora_perf.load"),
        ({"device": "moon"}, "cpu or cuda as device; found 'moon'"),
        ({"layers": "nowhere"}, "a layer group of this zoo"),
        ({"names": ["pca"], "train": [1, 2, 99]}, "rows from 0 to 59; found 99"),
        ({"names": ["pca"], "train": ["a"]}, "row numbers, a slice, or 60 booleans"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_one_line(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(LoraPerfError, match=told):
        lora_perf.represent(**({"zoo": ZOO, "names": ["stats"]} | asked))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(LoraPerfError, match="a CUDA GPU for device='cuda'; found none"):
        lora_perf.represent(ZOO, ["stats"], device="cuda")


@pytest.mark.parametrize("setting", [torch.inference_mode, lambda: torch.device("meta"), torch.no_grad])
def test_settings_of_a_caller_for_all_of_torch_change_nothing(setting: Any) -> None:
    expected = lora_perf.represent(ZOO, ["stats", "dw_sketch", "pca"])
    run = {"representations": ["stats"], "layer_groups": ["all"], "num_runs": 2, "epochs": 2}
    predicted = lora_perf.experiment.run(ZOO, **run).cells[0].runs[1].predictions  # type: ignore[arg-type]
    with setting():
        found = lora_perf.represent(lora_perf.load("digits")[:60], ["stats", "dw_sketch", "pca"])
        again = lora_perf.experiment.run(ZOO, **run).cells[0].runs[1].predictions  # type: ignore[arg-type]
    for name, features in expected.items():
        same(features, found[name])
    assert again == predicted
