"""The reading of headers: pairs, alphas, and what belongs to no pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout, parse_name
from lora_perf.io.dialects import Reading, read_names
from tests.io.dialects.headers import IN, OUT, RANK, SPELLINGS, Header, diffusers, entry, kohya, pair, peft

TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
EVERY_SPELLING = pytest.mark.parametrize(("dialect", "down", "up", "module"), SPELLINGS.values(), ids=SPELLINGS.keys())


def modules(reading: Reading) -> list[str]:
    return [found.module for found in reading.pairs]


# Pairs


@EVERY_SPELLING
def test_a_pair_is_read_in_every_spelling(dialect: str, down: str, up: str, module: str) -> None:
    reading = read_names(pair(down, up))
    (found,) = reading.pairs
    assert (reading.dialect, found.module, found.down, found.up) == (dialect, module, down, up)
    assert (found.down_shape, found.up_shape, found.rank) == ((RANK, IN), (OUT, RANK), RANK)
    assert (reading.unpaired, reading.other, reading.unknown) == ((), (), ())


@EVERY_SPELLING
def test_the_layers_of_a_pair_carry_its_module_in_a_layout(dialect: str, down: str, up: str, module: str) -> None:
    (found,) = read_names(pair(down, up)).pairs
    assert parse_name(found.down_layer) == (module, "down")
    assert parse_name(found.up_layer) == (module, "up")


def test_the_groups_of_a_layout_hold_for_kohya_names() -> None:
    reading = read_names(kohya(TO_Q, TO_Q.replace("attn1", "attn2")))
    layout = Layout([(found.down_layer, found.down_shape) for found in reading.pairs])
    assert [layer.module for layer in layout.group("visual")] == [
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    ]


SOME = st.lists(
    st.sampled_from(
        [f"{side}_blocks.{block}.{leaf}" for side in ("up", "down") for block in (0, 1, 10) for leaf in ("up", "down")]
    ),
    min_size=1,
    unique=True,
)


@given(SOME, st.data())
def test_pairs_are_the_same_whatever_the_order_of_the_keys(names: list[str], data: st.DataObject) -> None:
    header = diffusers(*names)
    shuffled = {name: header[name] for name in data.draw(st.permutations(list(header)))}
    assert read_names(shuffled) == read_names(header)
    assert sorted(modules(read_names(shuffled))) == sorted(f"unet.{name}" for name in names)


@given(SOME, st.data())
def test_a_lost_tensor_leaves_its_partner_unpaired(names: list[str], data: st.DataObject) -> None:
    header = diffusers("mid_block.kept", *names)
    lost = data.draw(st.sampled_from(sorted(name for name in header if "kept" not in name)))
    del header[lost]
    reading = read_names(header)
    partner = lost.replace(".lora.up.", ".lora.down.") if ".lora.up." in lost else lost.replace(".lora.down.", ".lora.up.")
    assert reading.unpaired == (partner,)
    assert len(reading.pairs) == len(names)


def test_modules_are_sorted_by_their_canonical_names() -> None:
    old = pair("mid_block.attn.processor.to_v_lora.down.weight", "mid_block.attn.processor.to_v_lora.up.weight")
    reading = read_names({**diffusers("unet.up_blocks.0.to_q", "down_blocks.0.to_q"), **old})
    assert modules(reading) == ["unet.down_blocks.0.to_q", "unet.mid_block.attn.to_v", "unet.up_blocks.0.to_q"]


def test_sides_of_different_dialects_are_no_pair() -> None:
    header = {"a.lora.down.weight": entry(RANK, IN), "a.lora_B.weight": entry(OUT, RANK), **diffusers("b")}
    assert read_names(header).unpaired == ("a.lora.down.weight", "a.lora_B.weight")


def test_an_adapter_and_a_module_of_the_same_name_are_two_modules() -> None:
    named = pair("a.lora_A.default.weight", "a.lora_B.default.weight")
    reading = read_names({**named, **pair("a.default.lora_A.weight", "a.default.lora_B.weight")})
    assert [(found.module, found.down) for found in reading.pairs] == [
        ("a", "a.lora_A.default.weight"),
        ("a.default", "a.default.lora_A.weight"),
    ]


def test_a_module_outside_the_blocks_joins_the_unet_of_its_file() -> None:
    assert modules(read_names(diffusers("conv_in", "down_blocks.0.to_q"))) == ["unet.conv_in", "unet.down_blocks.0.to_q"]


def test_a_module_outside_the_blocks_keeps_its_name_without_a_unet() -> None:
    assert modules(read_names(diffusers("conv_in", "layers.0.to_q"))) == ["conv_in", "layers.0.to_q"]


def test_a_file_of_two_dialects_is_of_the_more_frequent_one_and_says_so() -> None:
    old = pair("mid_block.attn.processor.to_v_lora.down.weight", "mid_block.attn.processor.to_v_lora.up.weight")
    reading = read_names({**diffusers("unet.a", "unet.b"), **old})
    assert reading.dialect == "diffusers"
    assert reading.notes == ("modules by dialect: diffusers 2, diffusers-old 1",)


def test_an_unknown_kohya_module_keeps_its_underscores_and_is_listed() -> None:
    reading = read_names(kohya("lora_unet_double_blocks_0_img_attn_proj", TO_Q))
    assert modules(reading) == [
        "lora_unet_double_blocks_0_img_attn_proj",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    ]
    assert reading.unknown == ("lora_unet_double_blocks_0_img_attn_proj",)
    assert reading.pairs[0].alpha == "lora_unet_double_blocks_0_img_attn_proj.alpha"


def test_tensors_of_no_lora_are_named() -> None:
    header = {**diffusers("a"), "emb_params": entry(2, 768), "optimizer.step": entry(), "unet.a.weight": entry(3, 3)}
    assert read_names(header).other == ("emb_params", "optimizer.step", "unet.a.weight")


@pytest.mark.parametrize(
    ("name", "note"),
    [("a.lora_B.bias", "a bias"), ("b.diff", "a full difference"), ("b.diff_b", "a difference of a bias")],
)
def test_a_part_of_the_update_that_is_no_product_is_noted(name: str, note: str) -> None:
    reading = read_names({**diffusers("a"), name: entry(5)})
    assert reading.notes == (f"left out, since {note} is no product B A: {name}",)


# Alphas


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_alpha_of_a_kohya_module_is_its_scale(shape: tuple[int, ...]) -> None:
    (found,) = read_names(kohya(TO_Q, alpha=shape)).pairs
    assert (found.scale, found.alpha) == (None, f"{TO_Q}.alpha")


@pytest.mark.parametrize(
    ("module", "alpha"),
    [
        ("unet.mid_block.to_q.lora", "unet.mid_block.to_q.alpha"),
        ("unet.mid_block.to_q.lora", "mid_block.to_q.alpha"),
        ("unet.mid_block.to_q.lora", "unet.mid_block.to_q.lora.alpha"),
        ("unet.mid_block.to_q.lora", "unet.mid_block.to_q.lora.down.weight.alpha"),
        ("unet.mid_block.processor.to_out_lora", "unet.mid_block.processor.to_out_lora.alpha"),
        ("unet.mid_block.processor.to_out_lora", "unet.mid_block.to_out.0.alpha"),
        ("unet.mid_block.processor.to_out_lora", "unet.mid_block.processor.to_out_lora.down.weight.alpha"),
        ("conv_in.lora", "unet.conv_in.alpha"),
    ],
)
def test_an_alpha_beside_diffusers_names_finds_its_module(module: str, alpha: str) -> None:
    header = {**pair(f"{module}.down.weight", f"{module}.up.weight"), **diffusers("unet.mid_block.other"), alpha: entry()}
    reading = read_names(header)
    assert {found.down: (found.scale, found.alpha) for found in reading.pairs} == {
        f"{module}.down.weight": (None, alpha),
        "unet.mid_block.other.lora.down.weight": (1.0, None),
    }
    assert reading.other == ()


def test_an_alpha_beside_new_names_finds_its_module() -> None:
    header = pair("transformer.a.lora_A.weight", "transformer.a.lora_B.weight") | {"transformer.a.alpha": entry()}
    assert read_names(header).pairs[0].alpha == "transformer.a.alpha"


def test_an_alpha_of_no_module_is_refused_where_a_module_has_none() -> None:
    with pytest.raises(LoraPerfError, match=r"found no factors for unet\.b\.alpha, and no scale for 1 of 1 modules"):
        read_names({**diffusers("unet.a"), "unet.b.alpha": entry()})


def test_an_alpha_of_no_module_is_a_problem_where_all_modules_have_theirs() -> None:
    reading = read_names({**kohya(TO_Q), f"{TO_K}.alpha": entry()})
    assert reading.problems == (f"alphas of modules without factors: {TO_K}.alpha",)
    assert reading.other == (f"{TO_K}.alpha",)


def test_kohya_modules_without_alpha_have_scale_one_and_are_counted() -> None:
    reading = read_names({**kohya(TO_Q), **kohya(TO_K, alpha=None)})
    assert [(found.scale, found.alpha) for found in reading.pairs] == [(1.0, None), (None, f"{TO_Q}.alpha")]
    assert reading.notes == ("no alpha: scale taken as 1 for 1 of 2 modules",)


def test_an_alpha_of_many_numbers_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=rf"expected one number in {TO_Q}\.alpha; found shape \(4,\)"):
        read_names(kohya(TO_Q, alpha=(4,)))


def test_two_alphas_for_one_module_are_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"expected one alpha for the module unet\.a; found two"):
        read_names({**diffusers("unet.a"), "unet.a.alpha": entry(), "unet.a.lora.alpha": entry()})


# Refusals


def test_an_empty_header_is_refused() -> None:
    with pytest.raises(LoraPerfError, match="found no tensor, as where ZeRO-3 of DeepSpeed spread the weights"):
        read_names({})


def test_a_whole_model_is_refused_with_some_of_its_names() -> None:
    with pytest.raises(LoraPerfError, match=r"found none among a\.weight, b\.weight, c\.weight, \.\.\. \(4 in all\)"):
        read_names({f"{name}.weight": entry(3, 3) for name in "dcba"})


@pytest.mark.parametrize("module", ["", "processor.", "base_model.model.."])
def test_a_factor_of_no_module_is_no_factor(module: str) -> None:
    with pytest.raises(LoraPerfError, match="found parts of the update that are not read: "):
        read_names(pair(f"{module}lora_A.weight", f"{module}lora_B.weight"))


def test_a_file_of_single_sides_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"found single sides only: a\.lora\.down\.weight; leave the adapter out"):
        read_names({"a.lora.down.weight": entry(RANK, IN)})


@pytest.mark.parametrize(
    "header",
    [
        {**diffusers("mid_block.a"), **diffusers("unet.mid_block.a")},
        {**peft("mid_block.a"), **diffusers("unet.mid_block.a")},
        {**diffusers("a"), **pair("a.lora_linear_layer.down.weight", "a.lora_linear_layer.up.weight")},
        kohya("lora_te_text_projection", "lora_te1_text_projection", alpha=None),
        {
            **pair("m.a.lora_A.first.weight", "m.a.lora_B.first.weight"),
            **pair("m.a.lora_A.second.weight", "m.a.lora_B.second.weight"),
        },
    ],
)
def test_two_pairs_for_one_module_are_refused(header: Header) -> None:
    with pytest.raises(LoraPerfError, match=r"expected one pair of factors for the module .*; found two: "):
        read_names(header)


@pytest.mark.parametrize("ending", ["scale", "scaling", "scalar"])
@pytest.mark.parametrize("prefix", ["", "base_model.model.", "module.base_model.model."])
def test_a_number_beside_the_factors_of_a_module_is_an_unread_part(ending: str, prefix: str) -> None:
    header = pair(f"{prefix}a.q.lora_A.weight", f"{prefix}a.q.lora_B.weight") | {f"{prefix}a.q.{ending}": entry(1)}
    assert read_names(header).unsupported == (f"{prefix}a.q.{ending}",)
    assert read_names(header | {f"{prefix}norm.{ending}": entry(1)}).other == (f"{prefix}norm.{ending}",)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_a_wrapper_of_torch_before_that_of_peft_is_no_other_dialect(wrapper: str) -> None:
    header = pair(f"{wrapper}base_model.model.a.q.lora_A.weight", f"{wrapper}base_model.model.a.q.lora_B.weight")
    assert read_names(header).notes == ("no adapter_config.json: scale taken as 1 for 1 of 1 modules",)
