"""Which column of some features belongs to which representation, layer and feature."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.features import Features
from lora_perf.core.layout import Layout
from tests.oracles import oracle, parts
from tests.representations.tolerances import assert_features_close


def expected_columns(representation: str, layout: Layout) -> Iterator[tuple[str, int, str]]:
    """Representation, position of the layer and feature of every column, in order."""
    for part in parts(representation):
        for index, layer in enumerate(layout):
            for feature in feature_names(part, layer.shape):
                yield part, index, feature


@cache
def feature_names(representation: str, shape: tuple[int, int]) -> tuple[str, ...]:
    return tuple(oracle(representation, np.ones(shape)))


def assert_adapter_close(features: Features, row: int, representation: str, matrices: list[NDArray[np.float32]]) -> None:
    """The features of one adapter are those of the oracle, layer by layer; `matrices` are its layers in layout order."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    values = features.values[row].tolist()
    for (part, index, feature), value in zip(expected_columns(representation, features.layout), values, strict=True):
        found.setdefault((part, index), {})[feature] = value
    for (part, index), of_layer in found.items():
        assert_features_close(of_layer, part, matrices[index])
