"""The scale of each module by a configuration: defaults, patterns, rank stabilisation, and what cannot be right."""

from __future__ import annotations

import json
from math import sqrt
from typing import Any

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects import read_names
from tests.io.dialects.headers import Header, diffusers, entry, pair, peft, refuses

LAYERS = ("model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.10.q_proj")


def scales(
    header: Header, config: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
) -> dict[str, float | None]:
    written = None if metadata is None else {"lora_adapter_metadata": json.dumps(metadata)}
    return {found.module: found.scale for found in read_names(header, written, config).pairs}


# adapter_config.json


CONFIGS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "alpha over the rank": ({}, [0.5, 0.5, 0.5]),
    "over the root of the rank": ({"use_rslora": True, "lora_alpha": 3}, [3 / sqrt(4)] * 3),
    "null patterns": ({"rank_pattern": None, "alpha_pattern": None, "use_rslora": None}, [0.5] * 3),
    "the first pattern that fits": ({"alpha_pattern": {"layers.0.q_proj": 8, "q_proj": 16}}, [2.0, 4.0, 4.0]),
    **{
        f"the pattern {pattern}": ({"alpha_pattern": {pattern: 16}}, expected)
        for pattern, expected in {
            "q_proj": [4.0, 4.0, 4.0],
            "layers.1.q_proj": [0.5, 4.0, 0.5],
            "model.layers.1.q_proj": [0.5, 4.0, 0.5],
            "1.q_proj": [0.5, 4.0, 0.5],
            "0.q_proj": [4.0, 0.5, 0.5],
            "proj": [0.5, 0.5, 0.5],
            "layers.1": [0.5, 0.5, 0.5],
            r".*\.1\d?\.q_proj": [0.5, 4.0, 4.0],
            r"^model\.layers\.0\.q_proj": [4.0, 0.5, 0.5],
            r"^layers\.0\.q_proj": [0.5, 0.5, 0.5],
        }.items()
    },
}


@pytest.mark.parametrize(("config", "expected"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_configuration_gives_each_module_its_scale(config: dict[str, Any], expected: list[float]) -> None:
    found = scales(peft(*LAYERS), {"r": 4, "lora_alpha": 2, **config})
    assert [found[layer] for layer in LAYERS] == expected


def test_keys_that_are_left_out_have_the_values_of_peft() -> None:
    assert scales(peft("a", rank=8), {}) == {"a": 1.0}
    assert read_names(peft("a"), config={"r": 4, "lora_alpha": 3, "use_rslora": True}).rslora


def test_a_rank_of_its_own_divides_the_alpha_of_its_module() -> None:
    header = {**peft("a", rank=4), **peft("b", rank=8)}
    assert scales(header, {"r": 4, "lora_alpha": 4, "rank_pattern": {"b": 8}}) == {"a": 1.0, "b": 0.5}


def test_a_pattern_sees_the_name_that_the_file_has() -> None:
    header = peft("mid_block.to_q")
    assert scales(header, {"r": 4, "lora_alpha": 4, "alpha_pattern": {"^mid_block.to_q": 8}}) == {"unet.mid_block.to_q": 2.0}


def test_without_a_configuration_the_scale_of_peft_is_assumed_and_said() -> None:
    reading = read_names(peft("a", "b"))
    assert [found.scale for found in reading.pairs] == [1.0, 1.0]
    assert reading.notes == ("no adapter_config.json: scale taken as 1 for 2 of 2 modules",)


def test_an_alpha_in_the_file_counts_before_the_configuration() -> None:
    (found,) = read_names({**peft("a"), "base_model.model.a.alpha": entry()}, config={"r": 4, "lora_alpha": 8}).pairs
    assert (found.scale, found.alpha) == (None, "base_model.model.a.alpha")


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga"])
def test_an_initialisation_that_changed_the_base_model_is_noted(start: str) -> None:
    (note,) = read_names(peft("a"), config={"r": 4, "lora_alpha": 4, "init_lora_weights": start}).notes
    assert note == f"adapter_config.json: init_lora_weights {start!r} also changed the base model, so dW is relative to that"


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_other_initialisations_are_not_noted(start: object) -> None:
    assert read_names(peft("a"), config={"r": 4, "lora_alpha": 4, "init_lora_weights": start}).notes == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"r": "4"}, "a whole number of at least 1 as r of adapter_config.json; found '4'"),
        ({"r": 0}, "a whole number of at least 1 as r of adapter_config.json; found int 0"),
        ({"r": True}, "as r of adapter_config.json; found bool True"),
        ({"r": None}, "as r of adapter_config.json; found NoneType None"),
        ({"lora_alpha": [8]}, r"a finite number as lora_alpha of adapter_config.json; found list \[8\]"),
        ({"lora_alpha": float("nan")}, "as lora_alpha of adapter_config.json; found float nan"),
        ({"lora_alpha": 10**400}, "a finite number as lora_alpha of adapter_config.json; found int 1000"),
        ({"lora_alpha": True}, "as lora_alpha of adapter_config.json; found bool True"),
        ({"use_rslora": "yes"}, "true or false as use_rslora of adapter_config.json; found 'yes'"),
        (
            {"rank_pattern": [4]},
            r"an object of module names and numbers as rank_pattern of adapter_config.json; found list \[4\]",
        ),
        (
            {"rank_pattern": {"a": 2.5}},
            r"a whole number of at least 1 as rank_pattern\['a'\] of adapter_config.json; found float 2.5",
        ),
        (
            {"alpha_pattern": {"a": None}},
            r"a finite number as alpha_pattern\['a'\] of adapter_config.json; found NoneType None",
        ),
        ({"alpha_pattern": {"(a": 2}}, r"a regular expression of module names as alpha_pattern\['\(a'\] of .*; found '\(a'"),
        ([4], r"a JSON object as adapter_config.json; found list \[4\]"),
    ],
)
def test_a_configuration_of_wrong_types_is_refused(config: Any, message: str) -> None:
    refuses(peft("a"), message, config={"r": 4, **config} if isinstance(config, dict) else config)


def test_a_rank_that_the_file_contradicts_is_refused() -> None:
    refuses(
        peft("model.a"),
        r"factors of rank 16 for model\.a, by adapter_config\.json; found rank 4 in the file",
        config={"r": 4, "rank_pattern": {"a": 16}},
    )


# Metadata of diffusers


def test_the_metadata_of_a_component_gives_its_scale() -> None:
    header = {**diffusers("unet.mid_block.to_q"), **diffusers("text_encoder.a", rank=8)}
    metadata = {"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.r": 8, "text_encoder.lora_alpha": 2}
    assert scales(header, metadata=metadata) == {"unet.mid_block.to_q": 2.0, "text_encoder.a": 0.25}


def test_patterns_of_the_metadata_begin_within_the_component() -> None:
    header = diffusers("unet.mid_block.to_q", "unet.mid_block.to_k")
    metadata = {"unet.r": 4, "unet.lora_alpha": 4, "unet.alpha_pattern": {"^mid_block.to_k": 8}}
    assert scales(header, metadata=metadata) == {"unet.mid_block.to_k": 2.0, "unet.mid_block.to_q": 1.0}


def test_the_metadata_of_a_model_of_its_own_has_no_component() -> None:
    header = pair("mid_block.to_q.lora_A.weight", "mid_block.to_q.lora_B.weight")
    assert scales(header, metadata={"r": 4, "lora_alpha": 12}) == {"unet.mid_block.to_q": 3.0}


def test_a_component_that_the_metadata_do_not_name_has_scale_one_and_is_counted() -> None:
    header = {**diffusers("unet.mid_block.to_q"), **diffusers("text_encoder.a")}
    reading = read_names(header, {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 8})})
    assert {found.module: found.scale for found in reading.pairs} == {"unet.mid_block.to_q": 2.0, "text_encoder.a": 1.0}
    assert reading.notes == ("no scale in the metadata: scale taken as 1 for 1 of 2 modules",)


def test_metadata_that_say_nothing_of_a_scale_change_nothing() -> None:
    metadata = {"unet.r": 4, "unet.lora_alpha": 8, "author": "somebody", "text_encoder.comment": "frozen"}
    header = {**diffusers("unet.mid_block.to_q"), **diffusers("text_encoder.a")}
    assert scales(header, metadata=metadata) == {"unet.mid_block.to_q": 2.0, "text_encoder.a": 1.0}


def test_a_configuration_and_metadata_that_agree_count_once() -> None:
    assert scales(peft("a"), {"r": 4, "lora_alpha": 8}, {"r": 4, "lora_alpha": 8}) == {"a": 2.0}


def test_a_configuration_that_the_metadata_contradict_is_refused_with_both_named() -> None:
    with pytest.raises(LoraPerfError, match=r"one scale for a; found 1 by adapter_config\.json, 2 by lora_adapter_metadata"):
        scales(peft("a"), {"r": 4, "lora_alpha": 4}, {"r": 4, "lora_alpha": 8})


def test_metadata_that_ask_for_another_kind_are_refused() -> None:
    with pytest.raises(LoraPerfError, match="found DoRA in lora_adapter_metadata of unet"):
        scales(diffusers("unet.mid_block.to_q"), metadata={"unet.r": 4, "unet.use_dora": True})


@pytest.mark.parametrize(("text", "message"), [("{", "JSON as"), ("[1]", "a JSON object as"), ("[" * 100_000, "JSON as")])
def test_metadata_that_are_no_json_object_are_refused(text: str, message: str) -> None:
    refuses(diffusers("a"), f"expected {message} lora_adapter_metadata; found", {"lora_adapter_metadata": text})


def test_metadata_of_a_wrong_type_are_refused_by_key() -> None:
    with pytest.raises(LoraPerfError, match="a finite number as lora_alpha of lora_adapter_metadata of unet; found '8'"):
        scales(diffusers("unet.mid_block.to_q"), metadata={"unet.r": 4, "unet.lora_alpha": "8"})
