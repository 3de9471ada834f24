"""The map of a zoo: its axes are those of scikit-learn's PCA, it is kept, and left out where there is nothing to draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import lora_perf
from lora_perf.core.rows import ArrayRows
from lora_perf.core.stored import StoredValues
from lora_perf.experiment import maps
from lora_perf.report.findings import best_cell
from lora_perf.report.maps import map_from_json

OPTIONS: dict[str, Any] = {"classifiers": ["ridge"], "layer_groups": ["all"], "controls": [], "permutations": 0}


def spread(n: int, f: int, seed: int = 0) -> torch.Tensor:
    """Rows whose columns have other means and deviations, some directions of much more variance than others."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(n, 3, generator=generator) * torch.tensor([5.0, 3.0, 1.0])
    values = few @ torch.randn(3, f, generator=generator) + torch.randn(n, f, generator=generator)
    return values * torch.rand(f, generator=generator).add(0.1) + 10 * torch.randn(f, generator=generator)


@pytest.mark.parametrize(("n", "f"), [(40, 7), (40, 130), (300, 20), (300, 250), (260, 700)])
def test_the_axes_are_those_of_scikit_learn(n: int, f: int) -> None:
    values = spread(n, f)
    values[:, 2] = 0.1  # a column that does not vary
    found = maps.principal_axes(values)
    assert found is not None
    places, shares = found
    kept = np.delete(values.double().numpy(), 2, axis=1)
    oracle = PCA(2, svd_solver="full")
    expected = oracle.fit_transform(StandardScaler().fit_transform(kept))
    signs = np.sign((expected * places.numpy()).sum(axis=0))
    np.testing.assert_allclose(places.numpy() * signs, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(shares.numpy(), oracle.explained_variance_ratio_, rtol=1e-8)
    assert (places.gather(0, places.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_columns_in_a_file_and_in_chunks_are_those_of_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    values = spread(50, 90)
    whole = maps.principal_axes(values)
    monkeypatch.setattr(maps, "_CHUNK_NBYTES", 8 * 50 * 7)
    chunked = maps.principal_axes(StoredValues(ArrayRows(values.numpy())))
    assert whole is not None
    assert chunked is not None
    torch.testing.assert_close(chunked, whole)


def test_a_single_column_has_one_axis_and_none_has_no_map() -> None:
    column = torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]])
    found = maps.principal_axes(column)
    assert found is not None
    np.testing.assert_allclose(found[0][:, 0], StandardScaler().fit_transform(column[:, :1]).ravel())
    assert found[0][:, 1].tolist() == [0, 0, 0]
    assert found[1].tolist() == pytest.approx([1, 0])
    assert maps.principal_axes(column[:, 1:]) is None
    assert maps.principal_axes(column[:2]) is None


def test_more_adapters_than_a_map_shows_are_drawn_by_the_seed() -> None:
    rows = torch.arange(0, 9000, 3)
    assert maps.drawn(rows[:2000], 10, 1).tolist() == rows[:2000].tolist()
    some = maps.drawn(rows, 10, 1)
    assert len(some) == 2000 == len(set(some.tolist()))
    assert set(some.tolist()) <= set(rows.tolist())
    assert some.tolist() == sorted(some.tolist()) == maps.drawn(rows, 10, 1).tolist()
    assert some.tolist() != maps.drawn(rows, 10, 2).tolist()
    assert len(maps.drawn(rows, 1 << 17, 1)) == 512  # wide features
    assert len(maps.drawn(rows, 1 << 24, 1)) == 500


def test_the_strongest_cell_has_the_map_of_its_features(tmp_path: Path) -> None:
    settings = {**OPTIONS, "representations": ["stats", "dw_norms"], "output_dir": tmp_path}
    results = lora_perf.experiment.run("digits", **settings)
    (one,) = [cell for cell in results.cells if cell.map is not None]
    assert one.cell == best_cell(results).cell
    assert one.map is not None
    zoo = lora_perf.load("digits")
    assert list(one.map.rows) == list(range(1000))
    assert list(one.map.adapters) == zoo.names
    assert list(one.map.truth) == zoo.labels.tolist()
    assert [row for row, part in zip(one.map.rows, one.map.parts, strict=True) if part == 2] == sorted(results.rows)
    values = lora_perf.represent(zoo, [one.representation])[one.representation].values.double().numpy()
    varying = values[:, values.std(axis=0) > 1e-6 * abs(values).max(axis=0)]
    expected = PCA(2, svd_solver="full").fit_transform(StandardScaler().fit_transform(varying))
    for axis, found in zip(expected.T, (one.map.x, one.map.y), strict=True):
        np.testing.assert_allclose(np.sign(axis @ np.array(found)) * np.array(found), axis, rtol=1e-3, atol=1e-3)
    assert lora_perf.Results.load(tmp_path).to_json()["cells"] == results.to_json()["cells"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    again = lora_perf.experiment.run("digits", **settings, cache_features=False)
    assert best_cell(again).map == one.map
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == times


def test_cells_of_an_earlier_run_get_a_map_once_one_of_them_is_the_strongest(tmp_path: Path) -> None:
    both = {**OPTIONS, "output_dir": tmp_path}
    first = lora_perf.experiment.run("digits", representations=["stats", "pca"], **both)
    weaker = min(first.cells, key=lambda one: one.runs[0].accuracy).representation
    alone = lora_perf.experiment.run("digits", representations=[weaker], **both)
    assert best_cell(alone).map is not None
    assert best_cell(alone).representation == weaker


def test_features_that_would_have_to_be_fitted_again_have_no_map() -> None:
    results = lora_perf.experiment.run("digits", representations=["pca"], **{**OPTIONS, "classifiers": ["ridge", "knn"]})
    assert all(cell.map is not None for cell in results.cells if cell.cell == best_cell(results).cell), "the last ones"
    results = lora_perf.experiment.run("digits", representations=["pca"], **{**OPTIONS, "layer_groups": ["all", "up"]})
    assert [cell.map for cell in results.cells] == [None, None], "those of up are the last ones"


def test_numbers_stand_beside_the_places_where_numbers_are_learned() -> None:
    settings = {**OPTIONS, "representations": ["dw_norms"], "target": "learning_rate"}
    results = lora_perf.experiment.run("digits-mixed", **settings)
    found = best_cell(results).map
    assert found is not None
    assert found.total == results.dataset["train"] + results.dataset["validation"] + results.dataset["test"]
    rows = torch.tensor(found.rows)
    rates = [float(one) for one in lora_perf.load("digits-mixed").metadata["learning_rate"]]
    assert list(found.truth) == pytest.approx([rates[row] for row in rows.tolist()])


@pytest.mark.parametrize(
    ("field", "value"),
    [("x", [1.0]), ("parts", [0, 3, 0]), ("adapters", ["a", "b", 3]), ("shares", [0.5]), ("truth", ["0", 1, 2]), ("rows", [])],
)
def test_a_damaged_map_is_refused(field: str, value: list[Any]) -> None:
    whole = {"rows": [0, 1, 2], "adapters": ["a", "b", "c"], "parts": [0, 1, 2], "truth": [0, 1, 1], "total": 3}
    whole |= {"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0], "shares": [0.5, 0.25]}
    assert json.loads(json.dumps(map_from_json(whole).__dict__)) == whole
    with pytest.raises(ValueError, match="a map"):
        map_from_json(whole | {field: value})
