"""Adapters of which nobody says a class: all but learning works, and learning says what is missing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import lora_perf
from lora_perf.core.zoo import Zoo
from lora_perf.inspect import inspection


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    whole = lora_perf.load("digits")[:40]
    return Zoo(whole.source, whole.layout, names=[f"run/{i}" for i in range(40)], name="bare")


def test_representations_are_those_of_the_labelled_zoo(zoo: Zoo) -> None:
    labelled = lora_perf.load("digits")[:40]
    for name, features in lora_perf.represent(zoo, ["stats", "dw_norms"]).items():
        assert torch.equal(features.values, lora_perf.represent(labelled, [name])[name].values)
        assert features.adapters == zoo.names


def test_it_is_packed_and_inspected(zoo: Zoo, tmp_path: Path) -> None:
    path = zoo.save(tmp_path / "bare.safetensors")
    assert lora_perf.load(path).names == zoo.names
    found = inspection(path)
    assert (found.adapters, found.classes) == (40, {})


def test_learning_says_what_is_missing(zoo: Zoo) -> None:
    said = copy.copy(zoo)
    said.metadata = lora_perf.core.metadata.Metadata({"artist": ["a"] * 40})
    with pytest.raises(lora_perf.LoraPerfError, match=r"expected adapters with labels in bare; found none; name the column"):
        lora_perf.experiment.run(zoo, num_runs=1)
    with pytest.raises(lora_perf.LoraPerfError, match=r"found none, though columns of metadata \(artist\); name the column"):
        _ = said.required_labels
