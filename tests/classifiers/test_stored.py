"""Probes and retrieval on values that stay in a packed file: what they give of a tensor, and each byte is read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, coordinates, retrieval
from lora_perf.classifiers.coordinates import coordinates as coordinates_of
from lora_perf.classifiers.standardise import ConstantFeaturesError
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.stored import StoredValues
from lora_perf.core.zoo import Zoo
from lora_perf.io.mapped import OpenFile
from tests.classifiers.problems import problem

PROBES = ["ridge", "knn", "logistic"]


def packed(values: torch.Tensor, path: Path) -> StoredValues:
    layout = Layout([("a.lora.down.weight", (1, values.shape[1] - 3)), ("a.lora.up.weight", (3, 1))])
    Zoo.from_rows(values, layout).save(path)
    return StoredValues(lora_perf.load(path).source)


@pytest.fixture
def nbytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is read of packed files from here on."""
    counts: list[int] = []
    read_into = OpenFile.read_into

    def counted(self: OpenFile, view: memoryview, place: int, what: str) -> None:
        counts.append(len(view))
        read_into(self, view, place, what)

    monkeypatch.setattr(OpenFile, "read_into", counted)
    monkeypatch.setattr(coordinates, "_STORED_CHUNK_NBYTES", 8 * 90 * 7)  # seven columns at a time
    return counts


@pytest.mark.parametrize("f", [6, 42, 300])
def test_coordinates_of_a_file_are_those_of_the_tensor_in_one_pass(f: int, tmp_path: Path, nbytes: list[int]) -> None:
    values, _, split = problem(f)
    stored = packed(values, tmp_path / "zoo.safetensors")
    nbytes.clear()
    found, usual = coordinates_of(stored, split), coordinates_of(values, split)
    assert sum(nbytes) == values.nbytes
    assert torch.equal(found.dropped, usual.dropped)
    for part in ("train", "validation", "test"):
        one, two = getattr(found, part), getattr(usual, part)
        np.testing.assert_allclose(one @ found.train.T, two @ usual.train.T, atol=1e-9)
    further = found.further(values[split.test])
    np.testing.assert_allclose(further @ found.train.T, usual.test @ usual.train.T, atol=1e-9)


@pytest.mark.parametrize("name", PROBES)
def test_probes_learn_from_a_file_in_one_pass(name: str, tmp_path: Path, nbytes: list[int]) -> None:
    values, labels, split = problem(300, signal=0.4)
    usual = CLASSIFIERS[name].fit(Examples(values, split), labels, 3)
    stored = packed(values, tmp_path / "zoo.safetensors")
    nbytes.clear()
    examples = Examples(stored, split)
    found = CLASSIFIERS[name].fit(examples, labels, 3)
    assert torch.equal(found.predictions, usual.predictions)
    assert found.runs[0].setting == usual.runs[0].setting
    for other in PROBES:
        CLASSIFIERS[other].fit(examples, labels, 3)
    assert sum(nbytes) == values.nbytes, "all probes share one pass"


def test_retrieval_reads_a_file_once(tmp_path: Path, nbytes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, split = problem(300, signal=0.4)
    setup = Setup(task="retrieval")
    usual = CLASSIFIERS["retrieval"].fit(Examples(values, split), labels, 3, setup)
    stored = packed(values, tmp_path / "zoo.safetensors")
    nbytes.clear()
    found = CLASSIFIERS["retrieval"].fit(Examples(stored, split), labels, 3, setup)
    assert sum(nbytes) == values.nbytes
    torch.testing.assert_close(found.predictions, usual.predictions)
    assert torch.equal(found.dropped, usual.dropped)
    monkeypatch.setattr(retrieval, "_LIKENESS_NBYTES", 4 * 90 * 11)  # eleven test adapters a pass
    monkeypatch.setattr(retrieval, "_CHUNK_NBYTES", 8 * 90 * 4)
    again = CLASSIFIERS["retrieval"].fit(Examples(stored, split), labels, 3, setup)
    torch.testing.assert_close(again.predictions, usual.predictions)


def test_some_layers_are_read_without_the_others(tmp_path: Path, nbytes: list[int]) -> None:
    values = torch.randn(90, 9000)
    stored = packed(values, tmp_path / "zoo.safetensors")
    nbytes.clear()
    some = StoredValues(stored.source, [slice(0, 10), slice(4000, 4010), slice(4020, 4030)])
    index = torch.arange(30)
    expected = torch.cat([values[:, :10], values[:, 4000:4010], values[:, 4020:4030]], dim=1)
    assert torch.equal(some.index_select(1, index), expected)
    assert sum(nbytes) == 4 * 90 * 40, "the gap of a few columns is read with them, that of pages is not"
    assert torch.equal(some.index_select(1, index.flip(0)), expected.flip(1))


def test_values_in_a_file_that_cannot_be_used_are_refused_as_those_of_a_tensor(tmp_path: Path, nbytes: list[int]) -> None:
    values, _, split = problem(300)
    values[5, 7] = values[6, 100] = torch.inf
    with pytest.raises(LoraPerfError, match=r"NaN or infinity in 2 of 300 columns \(7, 100\)"):
        coordinates_of(packed(values, tmp_path / "a.safetensors"), split)
    with pytest.raises(ConstantFeaturesError, match="300 constant columns over 40 train rows"):
        coordinates_of(packed(torch.ones(90, 300), tmp_path / "b.safetensors"), split)
