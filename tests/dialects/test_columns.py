"""The columns of tables by the grammar of files: factors, alphas, and what is neither."""

from __future__ import annotations

import pytest

from lora_perf.dialects import read_columns
from lora_perf.errors import LoraPerfError
from lora_perf.layout import Layout

KOHYA = "lora_unet_double_blocks_0_img_attn_proj"


def test_factors_come_in_the_order_of_the_table() -> None:
    columns = read_columns(["label", "b.lora.up.weight", "a.lora_A.weight", "b.lora.down.weight", "a.lora_B.weight"])
    assert columns.factors == (
        ("b.lora.up.weight", "up"),
        ("a.lora_A.weight", "down"),
        ("b.lora.down.weight", "down"),
        ("a.lora_B.weight", "up"),
    )
    assert (columns.alphas, columns.suspects) == ({}, ())


@pytest.mark.parametrize(
    ("stem", "alpha"),
    [
        (f"{KOHYA}.lora_{{}}", f"{KOHYA}.alpha"),
        ("unet.mid_block.to_q.lora.{}", "unet.mid_block.to_q.alpha"),
        ("unet.mid_block.to_q.lora.{}", "mid_block.to_q.lora.alpha"),
        ("transformer.blocks.0.q.lora_{}", "diffusion_model.blocks.0.q.alpha"),
        ("transformer.blocks.0.q.lora_{}", "lora_unet_blocks_0_q.alpha"),
        ("unet.mid_block.processor.to_out_lora.{}", "unet.mid_block.to_out.0.alpha"),
    ],
)
def test_an_alpha_belongs_to_the_module_of_the_layout(stem: str, alpha: str) -> None:
    names = [f"{stem.format(side)}.weight" for side in ("down", "up")]
    (module,) = Layout([(names[0], (2, 3)), (names[1], (4, 2))]).modules
    assert read_columns([*names, "label", alpha]).alphas == {module.name: alpha}


def test_other_columns_that_speak_of_a_lora_are_suspects() -> None:
    names = ["a.lora_A.weight", "a.lora_B.weight", "lora_url", "a.lora_down.0.weight", "steps", "a.lora_B.bias"]
    assert read_columns(names).suspects == ("lora_url", "a.lora_down.0.weight")


def test_an_alpha_without_factors_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"the factors of the module b, .*; found none; remove the column b\.alpha"):
        read_columns(["a.lora_A.weight", "a.lora_B.weight", "b.alpha"])


def test_two_alphas_of_one_module_are_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"one alpha for the module unet\.mid_block\.a; found two"):
        read_columns(["unet.mid_block.a.lora_A.weight", "unet.mid_block.a.alpha", "mid_block.a.alpha"])


def test_transposed_factors_are_refused_with_the_cure() -> None:
    with pytest.raises(LoraPerfError, match=r"found a\.lora_a, a\.lora_b, which MLX stores transposed; transpose them"):
        read_columns(["a.lora_a", "a.lora_b"])


def test_a_kind_that_is_no_product_is_refused_by_name() -> None:
    with pytest.raises(LoraPerfError, match="found DoRA in the names of the columns"):
        read_columns(["a.lora_A.weight", "a.lora_B.weight", "a.dora_scale"])


def test_a_table_without_factors_is_not_judged() -> None:
    assert read_columns(["alpha", "b.alpha", "lora_url", "a.dora_scale"]).factors == ()
