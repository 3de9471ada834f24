"""Coordinates: exact rotations, of the train rows alone."""

from __future__ import annotations

import numpy as np
import pytest

from lora_perf.classifiers import coordinates as module
from lora_perf.classifiers.coordinates import Coordinates, coordinates
from lora_perf.core.errors import LoraPerfError
from tests.classifiers.problems import N_TRAIN, problem, standardised


@pytest.mark.parametrize("f", [6, 41, 42, 300])
def test_coordinates_keep_inner_products_with_the_train_rows(f: int) -> None:
    values, _, split = problem(f)
    x = coordinates(values, split)
    oracle = standardised(values, split)
    unit = max(N_TRAIN, f - 2)
    for part, expected in zip((x.train, x.validation, x.test), oracle, strict=True):
        np.testing.assert_allclose(part @ x.train.T * unit, expected @ oracle[0].T, rtol=1e-6, atol=1e-6 * unit)


def test_wide_features_get_at_most_as_many_dimensions_as_train_rows() -> None:
    values, _, split = problem(300)
    assert coordinates(values, split).train.shape == (N_TRAIN, N_TRAIN - 1)  # the mean of the train rows is zero


def test_the_mean_square_of_a_dimension_is_one() -> None:
    for f in (12, 300):
        values, _, split = problem(f)
        x = coordinates(values, split).train
        assert np.square(x).sum() / min(N_TRAIN, f - 2) == pytest.approx(1)


def test_columns_in_chunks_give_what_they_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for f in (12, 300):
        values, _, split = problem(f)
        whole = coordinates(values, split)
        monkeypatch.setattr(module, "_CHUNK_NBYTES", 8 * 90 * 7)
        chunked = coordinates(values, split)
        np.testing.assert_allclose(whole.test @ whole.train.T, chunked.test @ chunked.train.T, atol=1e-12)


@pytest.mark.parametrize("f", [12, 300])
def test_test_rows_do_not_move_the_train_coordinates(f: int) -> None:
    values, _, split = problem(f)
    moved = values.clone()
    moved[split.test] *= -3
    np.testing.assert_array_equal(coordinates(values, split).train, coordinates(moved, split).train)


def test_constant_columns_are_named() -> None:
    values, _, split = problem(30)
    assert coordinates(values, split).dropped.tolist() == [28, 29]


def test_more_dimensions_than_fit_in_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DIMENSIONS", 39)
    values, _, split = problem(300)
    with pytest.raises(LoraPerfError, match="at most 39 train rows or features for a probe; found 40 train rows"):
        coordinates(values, split)
    narrow, _, _ = problem(30)
    assert coordinates(narrow, split).train.shape[1] == 28


def test_coordinates_hold_float64() -> None:
    values, _, split = problem(300)
    x: Coordinates = coordinates(values, split)
    assert {x.train.dtype, x.validation.dtype, x.test.dtype} == {np.dtype("float64")}


@pytest.mark.parametrize("f", [12, 300])
def test_further_rows_get_the_coordinates_that_they_get_within_the_split(f: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, _, split = problem(f)
    x = coordinates(values, split)
    monkeypatch.setattr(module, "_CHUNK_NBYTES", 8 * 90 * 7)
    for rows, expected in zip((split.train, split.validation, split.test), (x.train, x.validation, x.test), strict=True):
        np.testing.assert_allclose(x.further(values[rows]), expected, rtol=1e-6, atol=1e-9)
