"""Statements of a scale: each is found, they must agree, and none is ignored without a word."""

from __future__ import annotations

import contextlib
import json
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects import read_names
from tests.io.dialects.headers import Header, diffusers, entry, kohya, pair, peft, refuses

STEM = "lora_unet_double_blocks_0_img_attn_proj"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
KOHYA = {"ss_network_alpha": "8.0", "ss_network_dim": "4"}


def scale(header: Header, metadata: dict[str, str], config: dict[str, Any] | None = None) -> float | None:
    (found,) = read_names(header, metadata, config).pairs
    return found.scale


def convolution(stem: str, rank: int = 4) -> Header:
    return {f"{stem}.lora_down.weight": entry(rank, 6, 3, 3), f"{stem}.lora_up.weight": entry(5, rank, 1, 1)}


# Plain keys


@pytest.mark.parametrize("alpha", ["alpha", "lora_alpha", "network_alpha", "Lora_Alpha"])
@pytest.mark.parametrize("rank", ["r", "rank", "lora_rank", "network_dim", None])
def test_an_alpha_in_a_plain_key_is_the_scale(alpha: str, rank: str | None) -> None:
    reading = read_names(diffusers("a", rank=128), {alpha: "8", **({rank: "128"} if rank else {})})
    assert (reading.pairs[0].scale, reading.notes, reading.problems) == (0.0625, (), ())


def test_a_plain_rslora_divides_by_the_root() -> None:
    reading = read_names(peft("a"), {"lora_alpha": "8", "r": "4", "use_rslora": "True"})
    assert reading.pairs[0].scale == 8 / sqrt(4)
    assert reading.rslora


@given(st.integers(1, 64), st.floats(0.1, 1000), st.sampled_from(["lora_config", "peft_config", "training"]))
def test_a_config_in_a_key_says_what_the_same_config_beside_the_file_does(rank: int, alpha: float, key: str) -> None:
    config = {"r": rank, "lora_alpha": alpha}
    found = scale(peft("a", rank=rank), {key: json.dumps(config)})
    assert found == scale(peft("a", rank=rank), {}, config) == alpha / rank


@pytest.mark.parametrize("rank", ["lora_rank", "lora_r", "network_dim"])
def test_the_settings_of_a_trainer_state_alpha_and_rank(rank: str) -> None:
    written = {"ot_config": json.dumps({"peft_type": "LORA", rank: 4, "lora_alpha": 2.0, "target_modules": ["a"]})}
    assert scale(diffusers("a", rank=4), written) == 0.5
    with pytest.raises(LoraPerfError, match=rf"rank 4 for a, by {rank} of ot_config in the metadata; found rank 8 in the file"):
        scale(diffusers("a", rank=8), written)


def test_the_settings_of_a_trainer_agree_with_its_alphas() -> None:
    written = {"ot_config": json.dumps({"lora_rank": 4, "lora_alpha": 2.0})}
    (found,) = read_names(kohya(STEM), written).pairs
    assert (found.alpha, [(claim.scale, claim.binding) for claim in found.claims]) == (f"{STEM}.alpha", [(0.5, True)])


@pytest.mark.parametrize("value", ["None", "null", "", "Dynamic", "auto"])
def test_a_key_without_a_number_says_nothing(value: str) -> None:
    reading = read_names(diffusers("a"), {"alpha": value, "ss_network_alpha": value, "ss_network_dim": value})
    assert (reading.pairs[0].scale, reading.problems) == (1.0, ())


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"alpha": "twice"}, "alpha of the metadata is no number and counts for nothing: 'twice'"),
        ({"network_alphas": "[1]"}, "network_alphas of the metadata are no numbers by module and count for nothing"),
        ({"args": '{"lora": {"lora_alpha": 4}}'}, "entries of the metadata that speak of a scale and count for nothing: args"),
        ({"conv_alpha": "4"}, "entries of the metadata that speak of a scale and count for nothing: conv_alpha"),
        ({"rank": "16"}, "factors of rank 16 for a, by rank in the metadata; rank 4 in the file"),
    ],
)
def test_a_statement_that_cannot_be_used_is_a_problem(metadata: dict[str, str], problem: str) -> None:
    assert read_names(diffusers("a"), metadata).problems == (problem,)


@pytest.mark.parametrize(
    "key", ["ss_scale_weight_norms", "ss_learning_rate", "guidance_scale", "modelspec.title", "training_rank_0"]
)
def test_other_metadata_say_nothing_of_a_scale(key: str) -> None:
    assert read_names(diffusers("a"), {key: "8"}) == read_names(diffusers("a"))


# kohya's defaults


def test_the_default_alpha_counts_for_a_kohya_file_without_alphas() -> None:
    reading = read_names(kohya(STEM, alpha=None), KOHYA)
    assert (reading.pairs[0].scale, reading.problems) == (2.0, ())
    assert reading.notes == ("no alpha: scale by ss_network_alpha = 8 and ss_network_dim = 4 for 1 of 1 modules",)


ARGUMENTS = [{"rank_dropout": "0.1", "algo": "lora"}, {"conv_dim": "", "block_dims": "None"}, {}]
SCALES: list[tuple[Header, dict[str, str], list[float]]] = [
    (
        {**kohya(STEM, alpha=None), **convolution(CONV, 2)},
        {**KOHYA, "ss_network_args": json.dumps({"conv_dim": "2", "conv_alpha": "1"})},
        [2.0, 0.5],
    ),
    *((kohya(STEM, alpha=None), {**KOHYA, "ss_network_args": json.dumps(args)}, [2.0]) for args in ARGUMENTS),
    (
        pair("transformer.blocks.0.q.lora_A.weight", "transformer.blocks.0.q.lora_B.weight"),
        {"network_alphas": json.dumps({"diffusion_model.blocks.0.q.alpha": 2.0})},
        [0.5],
    ),
    (peft("a"), {"ss_network_alpha": "4", "ss_network_dim": "4"}, [1.0]),
]


@pytest.mark.parametrize(("header", "metadata", "scales"), SCALES)
def test_alphas_by_kind_and_by_module_are_scales_and_no_problem(
    header: Header, metadata: dict[str, str], scales: list[float]
) -> None:
    reading = read_names(header, metadata)
    assert ([found.scale for found in reading.pairs], reading.problems) == (scales, ())


def test_defaults_beside_other_names_are_a_problem_since_converters_fold_them() -> None:
    reading = read_names(diffusers("a"), KOHYA)
    assert reading.pairs[0].scale == 1.0
    (problem,) = reading.problems
    assert problem.startswith(
        "ss_network_alpha = 8 and ss_network_dim = 4 in the metadata, but names of diffusers and no alpha"
    )


def test_a_configuration_counts_before_defaults_and_the_difference_is_a_problem() -> None:
    reading = read_names(peft("a"), KOHYA, {"r": 4, "lora_alpha": 4})
    assert reading.pairs[0].scale == 1.0
    assert reading.problems == (
        "ss_network_alpha = 8 and ss_network_dim = 4 in the metadata, but adapter_config.json gives other scales and counts",
    )


# Configurations


def test_a_configuration_without_lora_alpha_is_noted() -> None:
    reading = read_names(peft("a"), config={"r": 4})
    assert reading.pairs[0].scale == 2.0
    assert reading.notes == ("adapter_config.json has no lora_alpha: PEFT's default of 8 counts",)


def test_a_configuration_of_mlx_states_the_scale_itself() -> None:
    header = {"a.lora_a": entry(6, 4), "a.lora_b": entry(4, 5)}
    config = {"fine_tune_type": "lora", "lora_parameters": {"rank": 4, "scale": 20.0}}
    reading = read_names(header, config=config)
    assert (reading.dialect, reading.notes) == ("mlx", ())
    assert [(found.scale, found.down_shape, found.up_shape) for found in reading.pairs] == [(20.0, (4, 6), (5, 4))]


def test_the_configuration_of_another_file_is_refused_where_a_scale_is_needed() -> None:
    refuses(peft("a"), r"the one adapter beside adapter_config\.json, .*; found 3 adapters", unclear="3 adapters")
    assert scale(peft("a"), {"alpha": "8"}) == read_names(peft("a"), {"alpha": "8"}, unclear="3 adapters").pairs[0].scale == 2.0


def test_metadata_of_a_component_that_is_not_there_are_a_problem() -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 4})}
    (problem,) = read_names(diffusers("unet.mid_block.a"), metadata).problems
    assert problem == "the metadata state a scale for 'text_encoder', of which there is no module"


# Refusals

MLX: Header = {"a.lora_a": entry(6, 4), "a.lora_b": entry(4, 5)}
BLOCKS = {**KOHYA, "ss_network_args": json.dumps({"block_dims": "4,8", "block_alphas": "1,2"})}
REFUSED: list[tuple[Header, dict[str, str], dict[str, Any] | None, str]] = [
    (
        peft("a"),
        {"alpha": "8", "lora_alpha": "4"},
        None,
        r"one scale for a; found 2 by alpha = 8 in .*, 1 by lora_alpha = 4 in",
    ),
    (peft("a"), {"alpha": "8", "rank": "16"}, None, r"factors of rank 16 for a, by rank in the metadata; found rank 4"),
    (peft("a"), {"alpha": "8", "rank": "4", "r": "8"}, None, r"factors of rank 8 for a, by r in the metadata"),
    (
        peft("a"),
        {"network_alpha": "8"},
        {"r": 4, "lora_alpha": 4},
        r"found 1 by adapter_config\.json, 2 by network_alpha = 8 in",
    ),
    (
        peft("a"),
        {"lora_config": '{"r": 4, "lora_alpha": 4}', "alpha": "1"},
        None,
        r"0\.25 by alpha = 1 in .*, 1 by lora_config of",
    ),
    (
        kohya(STEM, alpha=None),
        {"ss_network_alpha": "8", "ss_network_dim": "64"},
        None,
        r"factors of rank 64 for .*, by ss_network_dim or conv_dim .*; found rank 4",
    ),
    (kohya(STEM, alpha=None), BLOCKS, None, "a tensor of the alpha of .*, since ss_network_args give modules ranks or alphas"),
    (
        peft("a"),
        {},
        {"lora_alpha": 16},
        r"rank 8 for a, by adapter_config\.json, which has no r, so that PEFT's default of 8",
    ),
    (MLX, {}, {"fine_tune_type": "dora"}, r"found DoRA in adapter_config\.json"),
    (MLX, {}, {"fine_tune_type": "full"}, r"found a full fine-tuning in adapter_config\.json"),
    (MLX, {}, {"lora_parameters": {"rank": 4}}, r"an object with a scale as lora_parameters of adapter_config\.json"),
    (MLX, {}, {"lora_parameters": {"rank": 8, "scale": 2.0}}, "factors of rank 8 for a, by lora_parameters .* found rank 4 in"),
]


@pytest.mark.parametrize(("header", "metadata", "config", "message"), REFUSED, ids=[row[-1] for row in REFUSED])
def test_statements_that_contradict_or_do_not_fit_are_refused(
    header: Header, metadata: dict[str, str], config: dict[str, Any] | None, message: str
) -> None:
    refuses(header, message, metadata, config)


# All together

SOURCES = ("config", "lora_adapter_metadata", "alpha", "lora_alpha", "network_alpha", "lora_config", "network_alphas")


def stated(source: str, alpha: float) -> tuple[dict[str, str], dict[str, Any] | None]:
    """The metadata and the configuration by which one source states an alpha for the module a of rank 4."""
    config = {"r": 4, "lora_alpha": alpha}
    if source == "config":
        return {}, config
    if source == "network_alphas":
        return {source: json.dumps({"base_model.model.a.alpha": alpha})}, None
    return {source: repr(alpha) if source.endswith("alpha") else json.dumps(config)}, None


def all_stated(alphas: dict[str, float]) -> tuple[dict[str, str], dict[str, Any] | None]:
    metadata: dict[str, str] = {}
    config = None
    for source, alpha in alphas.items():
        more, beside = stated(source, alpha)
        metadata |= more
        config = beside or config
    return metadata, config


@given(st.sets(st.sampled_from(SOURCES), min_size=1), st.floats(0.01, 1000))
def test_any_sources_that_agree_give_the_one_scale(sources: set[str], alpha: float) -> None:
    reading = read_names(peft("a"), *all_stated(dict.fromkeys(sources, alpha)))
    assert reading.pairs[0].scale == pytest.approx(alpha / 4, rel=1e-4)
    assert (reading.notes, reading.problems) == ((), ())


@given(st.permutations(SOURCES), st.integers(2, len(SOURCES)), st.floats(0.01, 1000), st.floats(1.01, 100))
def test_one_source_that_differs_is_always_found(order: list[str], count: int, alpha: float, factor: float) -> None:
    sources = order[:count]
    alphas = dict.fromkeys(sources, alpha) | {sources[0]: alpha * factor}
    refuses(peft("a"), r"expected one scale for a; found .* by .*, .* by ", *all_stated(alphas))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["r", "lora_alpha", "a.alpha", "conv_dim"]), inner)
    ),
    max_leaves=6,
)
KEYS = (
    *("alpha", "LORA_ALPHA", "r", "rank", "use_rslora", "network_alphas"),
    *("ss_network_alpha", "ss_network_dim", "ss_network_args"),
    *("lora_adapter_metadata", "config", "scaling"),
)
TEXTS = st.text(max_size=6) | st.sampled_from(["1e999", "nan", "-0", "٣", "1_0", "0x10", "None"]) | JSON.map(json.dumps)


@given(st.dictionaries(st.sampled_from(KEYS), TEXTS), st.none() | JSON, st.booleans())
def test_nothing_that_metadata_hold_is_worse_than_a_refusal(metadata: dict[str, str], config: Any, alphas: bool) -> None:
    for header in (kohya(STEM, alpha=() if alphas else None), peft("a"), {"a.lora_a": entry(6, 4), "a.lora_b": entry(4, 5)}):
        with contextlib.suppress(LoraPerfError):
            reading = read_names(header, metadata, config)
            assert all(found.scale is None or isinstance(found.scale, float) for found in reading.pairs)
            assert all(isinstance(text, str) for text in (*reading.notes, *reading.problems))
