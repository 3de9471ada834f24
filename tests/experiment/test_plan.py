"""The plan: cells, their layers and their sizes."""

from __future__ import annotations

import pytest

from lora_perf import LoraPerfError, represent
from lora_perf.core.layout import Layout
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.plan import make_plan
from lora_perf.representations import REPRESENTATIONS, count, members
from tests.experiment.conftest import small_zoo

TEN = members("ten")


def test_the_ten_are_all_registered_under_their_names() -> None:
    assert len(set(TEN)) == 10
    assert set(TEN) <= set(REPRESENTATIONS)


def test_sizes_of_the_plan_are_those_of_the_features() -> None:
    zoo = small_zoo()
    plan = make_plan(ExperimentConfig(representations=("ten",), layer_groups=("all", "text", "up")), zoo.layout)
    features = represent(zoo, TEN)
    assert len(plan.cells) == 30
    for one in plan.cells:
        assert one.features == features[one.cell.representation].select(one.layers).values.shape[1], one.cell


def test_a_repeated_name_is_one_cell() -> None:
    config = ExperimentConfig(representations=("stats", "stats"), layer_groups=("all", "all"), controls=())
    plan = make_plan(config, small_zoo().layout)
    assert [one.cell.name for one in plan.cells] == ["stats.all.mlp"]


def test_the_plan_needs_only_the_layers_of_its_groups() -> None:
    plan = make_plan(ExperimentConfig(layer_groups=("visual",)), small_zoo().layout)
    assert {layer.path[-2] for layer in plan.layers} == {"attn1"}


def names(config: ExperimentConfig, layout: Layout) -> tuple[str, ...]:
    return make_plan(config, layout).groups


def test_the_groups_without_a_flag_are_those_that_the_zoo_has() -> None:
    llama = Layout(
        (f"model.layers.{i}.self_attn.q_proj.{side}.weight", shape)
        for i in range(2)
        for side, shape in (("lora_A", (2, 8)), ("lora_B", (8, 2)))
    )
    assert names(ExperimentConfig(), small_zoo().layout) == ("all", "visual")
    assert names(ExperimentConfig(), llama) == ("all",)
    assert names(ExperimentConfig(layer_groups=("auto", "up")), llama) == ("all", "up")


def test_what_stands_without_a_flag_is_what_the_zoo_allows() -> None:
    layout = small_zoo().layout
    updates = ("dw_sketch", "dw_projector")
    assert make_plan(ExperimentConfig(), layout).representations == (*TEN, *updates, "norm")
    assert make_plan(ExperimentConfig(layer_groups=("all", "up")), layout).representations == TEN
    assert make_plan(ExperimentConfig(), layout, one_rank=False).representations == (*updates, "norm")
    assert make_plan(ExperimentConfig(representations=("dw_norms", "auto")), layout).representations[0] == "dw_norms"
    with pytest.raises(LoraPerfError, match="adapters of one rank, or layer groups with both sides"):
        make_plan(ExperimentConfig(layer_groups=("up",)), layout, one_rank=False)


def test_a_group_that_was_asked_for_is_never_left_out() -> None:
    layout = Layout([("model.q_proj.lora_A.weight", (2, 8)), ("model.q_proj.lora_B.weight", (8, 2))])
    with pytest.raises(LoraPerfError, match=r"a layer group of this zoo \(all, down, up, .*\); found 'visual'"):
        make_plan(ExperimentConfig(layer_groups=("all", "visual")), layout)


def test_halves_need_a_second_group() -> None:
    layout = Layout([("model.q_proj.lora_A.weight", (2, 8)), ("model.q_proj.lora_B.weight", (8, 2))])
    with pytest.raises(
        LoraPerfError, match=r"a second layer group, .*; found all; write --layer-groups all and one of down, up"
    ):
        make_plan(ExperimentConfig(controls=("halves",)), layout)


def test_sampled_layers_begin_with_the_first_and_end_with_the_last() -> None:
    layout = small_zoo().layout
    plan = make_plan(ExperimentConfig(sample_layers=3, layer_groups=("all",)), layout)
    assert len(plan.layers) == 3
    assert (plan.layers[0], plan.layers[-1]) == (layout.layers[0], layout.layers[-1])
    assert make_plan(ExperimentConfig(sample_layers=99), layout).layers == layout.layers


@pytest.mark.parametrize(
    "setting", [{"representations": ()}, {"layer_groups": ()}, {"classifiers": ()}, {"num_runs": 0}, {"sample_layers": 0}]
)
def test_settings_without_cells_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(LoraPerfError, match="at least"):
        ExperimentConfig(**setting)  # type: ignore[arg-type]


def test_quick_shortens_and_never_lengthens() -> None:
    quick = ExperimentConfig(quick=True).effective
    assert (quick.num_runs, quick.epochs) == (2, 20)
    assert ExperimentConfig(quick=True, num_runs=1, epochs=3).effective.epochs == 3


def test_ensemble_counts_its_parts() -> None:
    layout = small_zoo().layout
    assert count("ensemble", layout, layout.layers[:1]) == 32 + 7 + 12 + 14 + 2
