"""Controls: labels without meaning, single numbers of a module, random halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_perf import LoraPerfError, Zoo, represent
from lora_perf.core.features import Features
from lora_perf.core.layout import Layer, Layout
from lora_perf.core.split import Split
from lora_perf.experiment.__main__ import main
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.controls import random_halves, shuffled_labels
from lora_perf.experiment.plan import make_plan
from lora_perf.io import store
from tests.conftest import MakeZoo
from tests.experiment.conftest import QUICK, small_zoo

Experiment = Callable[..., dict[str, Any]]
PROBES = ["--classifiers", "ridge", "knn", "--representations", "stats"]


def blocks(count: int, width: int = 8) -> Layout:
    """Two modules of attn1 and two of attn2 in each of some blocks."""
    shapes = []
    for block in range(count):
        for kind in ("attn1", "attn2"):
            for projection in ("to_q", "to_v"):
                name = f"unet.down_blocks.{block}.{kind}.{projection}.lora"
                shapes += [(f"{name}.down.weight", (2, width * (1 + block))), (f"{name}.up.weight", (width, 2))]
    return Layout(shapes)


def modules_of(layers: tuple[Layer, ...]) -> set[str]:
    return {layer.module for layer in layers}


def test_shuffled_labels_are_those_of_train_and_validation_rows_in_another_order() -> None:
    labels = torch.arange(100) % 7
    split = Split(*torch.arange(100).split([60, 20, 20]), "stratified")
    found = shuffled_labels(labels, split, seed=3)
    assert torch.equal(found[split.test], labels[split.test])
    assert not torch.equal(found[:80], labels[:80])
    assert torch.equal(found[:80].sort().values, labels[:80].sort().values)
    assert torch.equal(found, shuffled_labels(labels, split, seed=3))
    assert not torch.equal(found, shuffled_labels(labels, split, seed=4))


def numbers(name: str, zoo: Zoo, layers: Sequence[Layer]) -> Features:
    return represent(zoo, [name], layers=layers)[name]


def test_norms_are_those_of_the_formed_update(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(9)
    scales = torch.linspace(-2, 3, 18).reshape(9, 2)
    scaled = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=scales)
    table = numbers("norm", scaled, zoo.layout.layers)
    assert [name.rsplit("/")[-1] for name in table.names] == ["norm", "norm"]
    for column, module in enumerate(zoo.layout.modules):
        up, down = (side.double().numpy() for side in zoo.module(module.name))
        formed = scales[:, column, None, None].numpy() * (up @ down)
        np.testing.assert_allclose(table.values[:, column], np.linalg.norm(formed, axis=(1, 2)), rtol=1e-6)


def test_norms_of_a_group_are_those_of_its_whole_modules(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(5)
    whole, part = numbers("norm", zoo, zoo.layout.layers), numbers("norm", zoo, zoo.layout.layers[2:])
    torch.testing.assert_close(part.values, whole.values[:, 1:])


def test_ranks_are_those_of_the_adapters_where_they_differ(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(4)
    assert numbers("rank", zoo, zoo.layout.layers).values.tolist() == [[2.0, 2.0]] * 4
    ranks = torch.tensor([[1, 2], [2, 2], [2, 1], [1, 1]])
    mixed = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, ranks=ranks)
    assert numbers("rank", mixed, zoo.layout.layers).values.tolist() == ranks.double().tolist()
    assert numbers("rank", mixed, zoo.layout.layers[2:]).values.flatten().tolist() == ranks[:, 1].double().tolist()


@pytest.mark.parametrize("name", ["norm", "rank"])
def test_numbers_of_modules_need_whole_modules(random_zoo: MakeZoo, name: str) -> None:
    zoo = random_zoo(4)
    with pytest.raises(LoraPerfError, match=r"both (an|the) up and (a|the) down"):
        numbers(name, zoo, zoo.layout.group("up"))


def test_halves_are_different_choices_of_as_many_whole_modules() -> None:
    layout = blocks(3)
    visual = layout.group("visual")
    halves = random_halves(layout, layout.layers, visual, 1, 5)
    assert list(halves) == [f"half{k}" for k in range(5)]
    chosen = [frozenset(modules_of(half)) for half in halves.values()]
    assert len({*chosen, frozenset(modules_of(visual))}) == 6
    for half in halves.values():
        assert len(half) == len(visual) == 2 * len(modules_of(half))
        assert list(half) == sorted(half, key=layout.layers.index)
        assert sum(layer.size for layer in half) == pytest.approx(sum(layer.size for layer in visual), rel=0.1)
    assert halves == random_halves(layout, layout.layers, visual, 1, 5) != random_halves(layout, layout.layers, visual, 2, 5)


def test_halves_stay_within_the_first_group() -> None:
    layout = blocks(3)
    whole = layout.group("visual")
    halves = random_halves(layout, whole, layout.group("attn1.to_q"), 0, 5)
    assert all(set(half) < set(whole) for half in halves.values())


def test_few_modules_have_few_halves() -> None:
    layout = blocks(1)
    assert len(random_halves(layout, layout.layers, layout.group("attn1"), 0, 60)) == 5  # of six pairs all but attn1
    two = Layout([(f"unet.{kind}.to_q.lora.{side}.weight", (2, 2)) for kind in ("attn1", "attn2") for side in ("down", "up")])
    assert len(random_halves(two, two.layers, two.group("attn1"), 0, 60)) == 1


@pytest.mark.parametrize(("group", "telling"), [("up", "both an up and a down for halves"), ("all", "16 layers with 8 whole")])
def test_halves_need_a_smaller_group_of_whole_modules(group: str, telling: str) -> None:
    layout = blocks(2)
    with pytest.raises(LoraPerfError, match=telling):
        random_halves(layout, layout.layers, layout.group(group), 0, 5)


def test_the_plan_has_halves_and_shuffled_labels_of_representations_alone() -> None:
    config = ExperimentConfig(representations=("stats",), controls=("shuffled", "norm", "halves"))
    plan = make_plan(config, small_zoo().layout)
    names = [one.cell.name for one in plan.cells]
    halves = [f"stats.half{k}.mlp" for k in range(5)]
    shown = ["stats.all.mlp", "stats.all.mlp.shuffled", "stats.visual.mlp", "stats.visual.mlp.shuffled"]
    assert names == [*shown, *halves, "norm.all.mlp", "norm.visual.mlp"]
    assert plan.groups == ("all", "visual")


def test_shuffled_labels_lead_to_chance(experiment: Experiment) -> None:
    results = experiment(*PROBES, "--controls", "shuffled", "--layer-groups", "all", "--seed", "0")
    found = {(cell["classifier"], cell["shuffled"]): cell["accuracy"]["mean"] for cell in results["cells"]}
    assert found["ridge", False] > 0.5 > found["ridge", True]  # 10 and 3 of 13: no rounding turns three answers


def test_a_constant_rank_is_reported_as_no_information(experiment: Experiment, tmp_path: Path) -> None:
    results = experiment("--classifiers", "mlp", "knn", "--controls", "rank", "--representations", "stats")
    ranks = [cell for cell in results["cells"] if cell["representation"] == "rank"]
    assert len(ranks) == 4
    for cell in ranks:
        assert cell["note"] == "no information: constant"
        assert len(cell["constant"]) == cell["features"] > 0
        assert cell["accuracy"]["mean"] == pytest.approx(results["chance"], abs=0.1)
    assert [len(cell["runs"]) for cell in ranks] == [2, 1, 2, 1]
    assert "no information: constant" in (tmp_path / "out" / "summary.md").read_text()


def test_drops_to_halves_stand_beside_the_drop_to_the_second_group(experiment: Experiment, tmp_path: Path) -> None:
    results = experiment(*PROBES, "--controls", "halves")
    cells = {(cell["group"], cell["classifier"]): cell for cell in results["cells"]}
    assert len(results["halves"]) == 5
    for classifier in ("ridge", "knn"):
        whole = cells["all", classifier]["accuracy"]["mean"]
        drops = [whole - cells[half, classifier]["accuracy"]["mean"] for half in results["halves"]]
        found = cells["visual", classifier]["drop_to_halves"]
        assert found == pytest.approx(
            {
                "mean": np.mean(drops),
                "low": min(drops),
                "high": max(drops),
                "count": 5,
                "above": sum(drop >= whole - cells["visual", classifier]["accuracy"]["mean"] for drop in drops),
            }
        )
        assert cells["all", classifier]["drop_to_halves"] is None
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "drop to halves" in text
    assert "| half0 |" not in text


def test_adapters_of_different_ranks_are_refused_by_representations_of_factors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, labels = blocks(1), torch.arange(60) % 3
    ranks = 1 + torch.arange(60)[:, None].expand(-1, 4) % 2
    rows = torch.randn((60, layout.p), generator=torch.Generator().manual_seed(0))
    for module in layout.modules:
        rows[::2, module.down.columns].view(30, 2, -1)[:, 1] = 0
        rows[::2, module.up.columns].view(30, -1, 2)[:, :, 1] = 0
    store.write(Zoo.from_rows(rows, layout, labels, ["a", "b", "c"], ranks=ranks), tmp_path / "mixed.safetensors")
    flags = ["--dataset", str(tmp_path / "mixed.safetensors"), "--output-dir", str(tmp_path / "out"), *QUICK]
    assert main(flags) == 2
    message = capsys.readouterr().err
    assert "dw_spectrum" in message
    assert "of one rank for stats, ensemble, flat_vec, which" in message
    flags += ["--representations", "dw_norms", "dw_kernel", "--classifiers", "ridge", "--controls", "rank", "norm"]
    assert main(flags) == 0


def test_shuffled_labels_leave_two_classes_to_train_on() -> None:
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0])
    split = Split(torch.tensor([2, 3]), torch.tensor([0, 1, 4, 5]), torch.tensor([6, 7]), "zoo")
    for seed in range(20):
        found = shuffled_labels(labels, split, seed)
        assert sorted(found[split.train].tolist()) == [0, 1]
        assert sorted(found.tolist()) == sorted(labels.tolist())
