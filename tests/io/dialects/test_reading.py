"""The reading of headers: pairs, alphas, and what belongs to no pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.layout import Layout, parse_name
from lora_perf.io.dialects import Reading, read_names
from tests.io.dialects.headers import IN, OUT, RANK, SPELLINGS, Header, diffusers, entry, kohya, pair, peft, refuses

TO_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
OLD = pair("mid_block.attn.processor.to_v_lora.down.weight", "mid_block.attn.processor.to_v_lora.up.weight")


def modules(reading: Reading) -> list[str]:
    return [found.module for found in reading.pairs]


# Pairs


@pytest.mark.parametrize(("dialect", "down", "up", "module"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_pair_is_read_in_every_spelling_and_its_layers_carry_its_module(
    dialect: str, down: str, up: str, module: str
) -> None:
    reading = read_names(pair(down, up))
    (found,) = reading.pairs
    assert (reading.dialect, found.module, found.down, found.up) == (dialect, module, down, up)
    assert (found.down_shape, found.up_shape, found.rank) == ((RANK, IN), (OUT, RANK), RANK)
    assert (reading.unpaired, reading.other, reading.unknown) == ((), (), ())
    assert [parse_name(name) for name in (found.down_layer, found.up_layer)] == [(module, "down"), (module, "up")]


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


def test_sides_of_different_dialects_are_no_pair() -> None:
    header = {"a.lora.down.weight": entry(RANK, IN), "a.lora_B.weight": entry(OUT, RANK), **diffusers("b")}
    assert read_names(header).unpaired == ("a.lora.down.weight", "a.lora_B.weight")


MODULES: dict[str, tuple[Header, list[str]]] = {
    "sorted by their canonical names": (
        {**diffusers("unet.up_blocks.0.to_q", "down_blocks.0.to_q"), **OLD},
        ["unet.down_blocks.0.to_q", "unet.mid_block.attn.to_v", "unet.up_blocks.0.to_q"],
    ),
    "an adapter and a module of the same name": (
        {
            **pair("a.lora_A.default.weight", "a.lora_B.default.weight"),
            **pair("a.default.lora_A.weight", "a.default.lora_B.weight"),
        },
        ["a", "a.default"],
    ),
    "outside the blocks of a UNet": (diffusers("conv_in", "down_blocks.0.to_q"), ["unet.conv_in", "unet.down_blocks.0.to_q"]),
    "without a UNet": (diffusers("conv_in", "layers.0.to_q"), ["conv_in", "layers.0.to_q"]),
}


@pytest.mark.parametrize(("header", "found"), MODULES.values(), ids=MODULES.keys())
def test_modules_have_their_canonical_names(header: Header, found: list[str]) -> None:
    assert modules(read_names(header)) == found


def test_a_file_of_two_dialects_is_of_the_more_frequent_one_and_says_so() -> None:
    reading = read_names({**diffusers("unet.a", "unet.b"), **OLD})
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
    ("name", "note"), [("a.lora_B.bias", "a bias"), ("b.diff", "a full difference"), ("b.diff_b", "a difference of a bias")]
)
def test_a_part_of_the_update_that_is_no_product_is_noted(name: str, note: str) -> None:
    assert read_names({**diffusers("a"), name: entry(5)}).notes == (f"left out, since {note} is no product B A: {name}",)


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


def test_an_alpha_of_no_module_is_a_problem_where_all_modules_have_theirs() -> None:
    reading = read_names({**kohya(TO_Q), f"{TO_K}.alpha": entry()})
    assert reading.problems == (f"alphas of modules without factors: {TO_K}.alpha",)
    assert reading.other == (f"{TO_K}.alpha",)


def test_kohya_modules_without_alpha_have_scale_one_and_are_counted() -> None:
    reading = read_names({**kohya(TO_Q), **kohya(TO_K, alpha=None)})
    assert [(found.scale, found.alpha) for found in reading.pairs] == [(1.0, None), (None, f"{TO_Q}.alpha")]
    assert reading.notes == ("no alpha: scale taken as 1 for 1 of 2 modules",)


# Refusals

UNREAD, TWO = "found parts of the update that are not read: ", "expected one pair of factors for the module .*; found two: "
REFUSED: dict[str, tuple[Header, str]] = {
    "an alpha of no module where a module has none": (
        {**diffusers("unet.a"), "unet.b.alpha": entry()},
        r"found no factors for unet\.b\.alpha, and no scale for 1 of 1 modules",
    ),
    "an alpha of many numbers": (kohya(TO_Q, alpha=(4,)), rf"expected one number in {TO_Q}\.alpha; found shape \(4,\)"),
    "two alphas": (
        {**diffusers("unet.a"), "unet.a.alpha": entry(), "unet.a.lora.alpha": entry()},
        r"expected one alpha for the module unet\.a; found two",
    ),
    "nothing": ({}, "found no tensor, as where ZeRO-3 of DeepSpeed spread the weights"),
    "a whole model": (
        {f"{name}.weight": entry(3, 3) for name in "dcba"},
        r"found none among a\.weight, b\.weight, c\.weight, \.\.\. \(4 in all\)",
    ),
    "a factor of no module": (pair("lora_A.weight", "lora_B.weight"), UNREAD),
    "a factor of a processor": (pair("processor.lora_A.weight", "processor.lora_B.weight"), UNREAD),
    "a factor of a wrapper": (pair("base_model.model..lora_A.weight", "base_model.model..lora_B.weight"), UNREAD),
    "a single side": (
        {"a.lora.down.weight": entry(RANK, IN)},
        r"found single sides only: a\.lora\.down\.weight; leave the adapter out",
    ),
    "with and without a component": ({**diffusers("mid_block.a"), **diffusers("unet.mid_block.a")}, TWO),
    "two dialects of one module": ({**peft("mid_block.a"), **diffusers("unet.mid_block.a")}, TWO),
    "two endings of one module": (
        {**diffusers("a"), **pair("a.lora_linear_layer.down.weight", "a.lora_linear_layer.up.weight")},
        TWO,
    ),
    "two stems of one module": (kohya("lora_te_text_projection", "lora_te1_text_projection", alpha=None), TWO),
    "two adapters": (
        {
            **pair("m.a.lora_A.first.weight", "m.a.lora_B.first.weight"),
            **pair("m.a.lora_A.second.weight", "m.a.lora_B.second.weight"),
        },
        TWO,
    ),
}


@pytest.mark.parametrize(("header", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_is_no_adapter_is_refused(header: Header, message: str) -> None:
    refuses(header, message)


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
