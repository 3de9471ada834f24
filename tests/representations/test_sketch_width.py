"""Sketches of any width: their definition, their names, and how far they are from the updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.plan import make_plan
from lora_perf.representations import REPRESENTATIONS, expand, members
from lora_perf.representations.distortion import is_sketch, sketch_error
from lora_perf.representations.registry import refuse_ranks, sets
from tests.audit.zoos import random_zoo
from tests.oracles_dw import update, words
from tests.representations.learned.updates import flattened
from tests.representations.updates import NAMES, factors_of, zoo_of


def signs(path: str, purpose: str, shape: tuple[int, int], length: int, width: int) -> np.ndarray:
    bits = [word >> i & 1 for word in words(path, purpose, shape, -(-length * width // 64)) for i in range(64)]
    return (2 * np.array(bits[: length * width]).reshape(length, width) - 1) / np.sqrt(width)


@settings(max_examples=20, derandomize=True)
@given(width=st.integers(1, 40), m=st.integers(1, 20), r=st.integers(1, 4), k=st.integers(1, 20))
def test_a_sketch_of_any_width_is_that_of_the_definition(width: int, m: int, r: int, k: int) -> None:
    up, down = factors_of("normal", (m, r, k))
    name = f"dw_sketch_{width}"
    features = lora_perf.represent(zoo_of([[(up, down)]]), [name])[name]
    left, right = (signs(NAMES[0], side, (m, k), size, width) for side, size in (("left", m), ("right", k)))
    wanted = left.T @ update(up, down) @ right
    np.testing.assert_allclose(features.values[0].reshape(width, width), wanted, atol=1e-5 * max(1, np.abs(wanted).max()))
    assert features.names[-1].rpartition("/")[2] == f"p{width - 1}q{width - 1}"


def test_sixteen_is_the_sketch_itself() -> None:
    zoo = lora_perf.load("digits")[:5]
    found = lora_perf.represent(zoo, ["dw_sketch", "dw_sketch_16"])
    assert torch.equal(found["dw_sketch"].values, found["dw_sketch_16"].values)


def test_a_width_is_no_member_of_a_set_and_has_a_name() -> None:
    before = members("dw")
    assert expand(["dw_sketch_8", "dw"]) == ("dw_sketch_8", *before)
    assert members("dw") == before
    assert "dw_sketch_8" in REPRESENTATIONS
    assert "dw_sketch_8" not in list(REPRESENTATIONS)
    assert [is_sketch(name) for name in ("dw_sketch", "dw_sketch_8", "dw_spectrum")] == [True, True, False]


def test_what_is_listed_does_not_depend_on_what_was_named_before() -> None:
    def lists() -> tuple[object, ...]:
        messages = []
        for ask in (
            lambda: expand(["no_such"]),
            lambda: REPRESENTATIONS.named("no_such"),
            lambda: refuse_ranks(zoo, ["stats"]),
        ):
            with pytest.raises(LoraPerfError) as error:
                ask()
            messages.append(str(error.value))
        return (*messages, sets(), len(REPRESENTATIONS), repr(REPRESENTATIONS), list(REPRESENTATIONS.items()))

    zoo = random_zoo(mixed=True)
    before = lists()
    for base in REPRESENTATIONS.numbered:
        assert REPRESENTATIONS.named(f"{base}_7") is REPRESENTATIONS[f"{base}_7"]
    assert lists() == before


@pytest.mark.usefixtures("own_registry")
def test_ones_own_representation_of_such_a_name_is_what_the_name_means() -> None:
    REPRESENTATIONS.named("dw_sketch_9")
    REPRESENTATIONS.add("dw_sketch_9", REPRESENTATIONS["stats"])
    assert REPRESENTATIONS.named("dw_sketch_9") is REPRESENTATIONS["dw_sketch_9"] is REPRESENTATIONS["stats"]


@pytest.mark.parametrize("width", [0, 1025])
def test_a_width_out_of_bounds_is_refused(width: int) -> None:
    with pytest.raises(LoraPerfError, match=f"width of dw_sketch from 1 to 1024; found {width}; name another, as dw_sketch_32"):
        expand([f"dw_sketch_{width}"])


@pytest.mark.parametrize("name", ["dw_sketch_", "dw_sketch_x", "dw_spectrum_8", "stats_4"])
def test_other_numbers_are_no_names(name: str) -> None:
    with pytest.raises(LoraPerfError, match="expected a representation"):
        expand([name])


def test_the_width_is_a_setting() -> None:
    config = ExperimentConfig(representations=("stats", "dw_sketch"), sketch_width=8, controls=())
    assert make_plan(config, lora_perf.load("digits").layout).representations == ("stats", "dw_sketch_8")
    with pytest.raises(LoraPerfError, match="--sketch-width of at least 1; found 0"):
        ExperimentConfig(sketch_width=0)


@pytest.mark.parametrize("name", ["dw_sketch", "dw_sketch_4"])
def test_the_error_of_a_sketch_is_that_of_updates_once_formed(name: str) -> None:
    zoo = lora_perf.load("digits")[:12]
    full = flattened(zoo)
    sketches = lora_perf.represent(zoo, [name])[name].values.double().numpy()
    off, squares = [], []
    for i in range(12):
        for j in range(12):
            error = (sketches[i] @ sketches[j] - full[i] @ full[j]) / (np.linalg.norm(full[i]) * np.linalg.norm(full[j]))
            (squares if i == j else off).append(error)
    found = sketch_error(zoo, name=name)
    assert found.inner == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=1e-5)
    assert found.squares == pytest.approx(np.sqrt(np.mean(np.square(squares))), rel=1e-5)
    assert found.adapters == 12


def test_an_experiment_tells_the_error_of_its_sketch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        results = lora_perf.experiment.run(
            "digits", representations=["dw_sketch"], sketch_width=8, layer_groups=["all"], classifiers=["ridge"]
        )
    assert results.cells[0].cell.representation == "dw_sketch_8"
    assert "dw_sketch_8: inner products of 64 adapters are off by 0.072 |a| |b|" in caplog.text
