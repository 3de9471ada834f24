"""`--draws`: representations with random vectors, or fitted from a seed, drawn several times; from features to the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.classifiers import CLASSIFIERS, Examples
from lora_perf.classifiers.metrics import Answers, accuracy_of, difference_of
from lora_perf.core.split import make_split
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.representations import REPRESENTATIONS, members
from lora_perf.representations.updates.fixed import FixedVectors
from tests.experiment.test_studies import telling_zoo

Experiment = Callable[..., dict[str, Any]]
ASKED = {"controls": [], "permutations": 0, "classifiers": ["ridge"], "layer_groups": ["all", "visual"]}


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return telling_zoo(n=120)


@pytest.fixture(scope="module")
def results(zoo: Zoo) -> lora_perf.Results:
    return lora_perf.experiment.run(zoo, representations=["dw_sketch_2", "contrastive", "stats"], draws=3, **ASKED)


@pytest.mark.parametrize("draw", [0, 1, 7])
def test_a_draw_is_a_sketch_with_other_signs(zoo: Zoo, draw: int) -> None:
    found = lora_perf.represent(zoo, ["dw_sketch"], draw=draw)["dw_sketch"].values[5].double()
    wanted = []
    for module in zoo.layout.modules:
        fixed = FixedVectors([module], torch.device("cpu"), draw)
        up, down = (zoo.rows[5, one.columns].double().view(one.shape) for one in (module.up, module.down))
        wanted.append((fixed.left[0].T @ (up @ down) @ fixed.right[0]).flatten())
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-5, atol=1e-6)


def test_draws_are_of_their_own_and_all_signs(zoo: Zoo) -> None:
    one, two = (FixedVectors(zoo.layout.modules[:1], torch.device("cpu"), draw).signs("left", 1024) for draw in (1, 2))
    assert set(one.abs().unique().tolist()) == {1 / 32}
    assert abs(float((one * two).sum()) / one.numel() * 1024) < 0.05  # of 8,192 products of signs, whose deviation is .011


def test_what_is_drawn_follows_the_draw_and_nothing_else_does(zoo: Zoo) -> None:
    streamed = [name for name, one in REPRESENTATIONS.items() if one.streamed and one.family in ("ten", "dw")]
    first, second = (lora_perf.represent(zoo, streamed, draw=draw) for draw in (0, 1))
    differ = {name for name in streamed if not torch.equal(first[name].values, second[name].values)}
    assert differ == {name for name in streamed if REPRESENTATIONS[name].drawn}
    assert differ == {"dw_sketch", "dw_gram_probe", "up_projector", "down_projector", "dw_projector"}
    assert all(REPRESENTATIONS[name].drawn for name in (*members("learned"), "random_products"))


def test_each_draw_is_a_cell_read_on_the_same_split(zoo: Zoo, results: lora_perf.Results) -> None:
    cells = [one.cell.name for one in results.cells if one.group == "all"]
    drawn = [f"{name}.all.ridge{draw}" for name in ("dw_sketch_2", "contrastive") for draw in ("", ".draw2", ".draw3")]
    assert sorted(cells) == sorted([*drawn, "stats.all.ridge"])
    split = make_split(zoo.required_labels, zoo.classes, zoo.split)
    right = []
    for draw, division in enumerate(("", "draw2", "draw3")):
        features = lora_perf.represent(zoo, ["dw_sketch_2"], draw=draw)["dw_sketch_2"]
        learnt = CLASSIFIERS["ridge"].fit(Examples(features.matrix, split), zoo.required_labels, 3)
        cell = results.cell("dw_sketch_2", "all", "ridge", division=division)
        assert cell is not None
        assert cell.runs[0].predictions == learnt.predictions[0].tolist()
        right.append((learnt.predictions == zoo.required_labels[split.test]).numpy())
    wanted = accuracy_of([Answers(np.concatenate(right), None, 1, 3)])
    assert results.accuracy("dw_sketch_2", "all", "ridge") == wanted


def test_learned_representations_are_fitted_from_other_seeds(zoo: Zoo, results: lora_perf.Results) -> None:
    split = make_split(zoo.required_labels, zoo.classes, zoo.split)
    features = lora_perf.represent(zoo, ["contrastive"], train=split, seed=44)["contrastive"]
    learnt = CLASSIFIERS["ridge"].fit(Examples(features.matrix, split), zoo.required_labels, 3)
    cell = results.cell("contrastive", "all", "ridge", division="draw3")
    assert cell is not None
    assert cell.runs[0].predictions == learnt.predictions[0].tolist()


def test_drops_and_pairs_hold_for_new_draws(results: lora_perf.Results) -> None:
    whole, part = (results.answers("dw_sketch_2", group, "ridge") for group in ("all", "visual"))
    assert [one.draws for one in (*whole, *part)] == [3, 3]
    assert results.drop("dw_sketch_2", "visual", "ridge") == difference_of(whole, part)
    beside = results.answers("stats", "all", "ridge")
    assert beside[0].draws == 1
    names = {frozenset((one.first, one.second)) for one in lora_perf.report.comparisons.pairs(results, "ridge")}
    assert frozenset(("dw_sketch_2", "stats")) in names
    assert results.to_json()["cells"][0]["interval_over"] == "draws and test adapters"


def test_what_is_covered_is_said_at_the_table(zoo: Zoo, results: lora_perf.Results, tmp_path: Path) -> None:
    results.save(tmp_path / "drawn")
    assert "dw_sketch_2, contrastive: for new draws too (3 draws)" in (tmp_path / "drawn" / "summary.md").read_text()
    assert lora_perf.Results.load(tmp_path / "drawn").to_json() == results.to_json()
    single = lora_perf.experiment.run(zoo, representations=["dw_sketch_2", "stats"], **ASKED)
    single.save(tmp_path / "single")
    assert "dw_sketch_2: one draw; other draws are not covered" in (tmp_path / "single" / "summary.md").read_text()


def test_each_draw_has_a_cache_of_its_own(zoo: Zoo, tmp_path: Path) -> None:
    asked = {"representations": ["dw_sketch_2", "dw_norms"], "output_dir": tmp_path, **ASKED}
    first = lora_perf.experiment.run(zoo, draws=2, **asked)
    kept = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "cache").glob("dw_*"))
    assert kept == ["dw_norms", "dw_sketch_2", "dw_sketch_2"]
    for path in (tmp_path / "cells").iterdir():
        path.unlink()
    again = lora_perf.experiment.run(zoo, draws=3, **asked)
    assert len([*(tmp_path / "cache").glob("dw_sketch_2-*")]) == 3
    for one in first.cells:
        other = again.cell(one.representation, one.group, one.classifier, division=one.division)
        assert other is not None
        assert [run.predictions for run in one.runs] == [run.predictions for run in other.runs]


def test_the_runs_of_the_perceptron_train_on_each_draw(zoo: Zoo) -> None:
    asked = ASKED | {"classifiers": ["mlp"], "layer_groups": ["all"]}
    found = lora_perf.experiment.run(
        zoo, representations=["dw_sketch_2", "stats"], draws=2, num_runs=3, epochs=3, hidden_dim=16, **asked
    )
    (answers,) = found.answers("dw_sketch_2", "all", "mlp")
    assert (answers.right.shape[0], answers.draws) == (6, 2)
    assert found.to_json()["cells"][0]["interval_over"] == "draws, seeds and test adapters"
    assert len(lora_perf.report.comparisons.pairs(found, "mlp")) == 1


def test_halves_are_of_the_first_draw(zoo: Zoo) -> None:
    asked = ASKED | {"controls": ["halves"]}
    found = lora_perf.experiment.run(zoo, representations=["dw_sketch_2"], draws=2, halves=3, **asked)
    whole, half = (found.answers("dw_sketch_2", group, "ridge", divisions=[""]) for group in ("all", "half0"))
    assert found.drop("dw_sketch_2", "half0", "ridge") == difference_of(whole, half)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"draws": 0}, "--draws of at least 1; found 0"), ({"draws": 2, "splits": 2}, "--draws on one split")],
)
def test_draws_that_cannot_be_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(LoraPerfError, match=message):
        ExperimentConfig(**settings)  # type: ignore[arg-type]


def test_controls_of_another_width_are_named(zoo: Zoo, tmp_path: Path) -> None:
    asked = ASKED | {"controls": ["auto"], "layer_groups": ["all"]}
    lora_perf.experiment.run(zoo, representations=["pca"], **asked).save(tmp_path)
    told = (tmp_path / "summary.md").read_text()
    assert "Not as many features as pca (80): random_projection_256 (256)." in told  # adapters of 80 parameters
