from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features
from lora_perf.core.zoo import Zoo
from tests.conftest import MakeZoo


@pytest.fixture(scope="module")
def features(random_zoo: MakeZoo) -> Features:
    zoo = random_zoo()
    named = Zoo(zoo.source, zoo.layout, names=[f"<b>{i}" for i in range(7)])
    return lora_perf.represent(named, ["stats"])["stats"]


def test_an_array_shares_their_memory_and_may_be_of_another_type(features: Features) -> None:
    array = np.asarray(features)
    assert array.dtype == np.float32
    assert np.shares_memory(array, features.values.numpy())
    assert_array_equal(np.asarray(features, np.float64), features.values.double().numpy())
    assert not np.shares_memory(np.array(features, copy=True), features.values.numpy())
    with pytest.raises(ValueError, match="without a copy"):
        np.array(features, np.float64, copy=False)


@pytest.mark.parametrize("rows", [[5, 1], slice(2, 4), np.arange(7) > 3, torch.tensor([-1])], ids=repr)
def test_rows_of_features_are_features(features: Features, rows: object) -> None:
    some = features[rows]
    at = rows if not isinstance(rows, np.ndarray) else torch.from_numpy(rows)
    assert torch.equal(some.values, features.values[at])
    assert some.adapters == np.array(features.adapters)[np.asarray(rows) if not isinstance(rows, slice) else rows].tolist()
    assert some.names == features.names


def test_one_row_is_a_tensor_and_two_axes_are_those_of_the_values(features: Features) -> None:
    assert torch.equal(features[-1], features.values[-1])
    assert torch.equal(features[:, 3], features.values[:, 3])
    assert features[[2], ...].shape == (1, features.shape[1])


def test_rows_that_are_not_there_are_refused(features: Features) -> None:
    with pytest.raises(LoraPerfError, match=r"expected rows from 0 to 6; found 7"):
        features[7]


def test_a_frame_has_adapters_as_rows_and_features_as_columns(features: Features) -> None:
    frame = features.to_frame()
    assert list(frame.index) == [f"<b>{i}" for i in range(7)]
    assert list(frame.columns) == list(features.names)
    assert_array_equal(frame.to_numpy(), features.values.numpy())


def test_names_stay_through_choices_of_layers_and_concatenation(features: Features) -> None:
    chosen = features.select(features.layout.group("up"))
    assert chosen.adapters == features.adapters
    joined = lora_perf.core.features.concatenate({"one": features, "two": features})
    assert joined.adapters == features.adapters


def test_they_tell_what_they_are_in_a_few_lines(features: Features) -> None:
    assert repr(features).splitlines()[0] == "Features: 7 adapters, 28 features"
    assert len(repr(features)) < 500
    assert features._repr_html_().startswith("<table>")
