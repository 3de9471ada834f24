"""The dotted names of kohya's modules: by hand, and against the modules of the real models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lora_perf.io.dialects.kohya import dotted

# Stable Diffusion 1.5 is what UNet2DConditionModel is by default.
SD_15: dict[str, Any] = {"cross_attention_dim": 768}
SDXL: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
# How many transformer blocks stand in each attention, level by level on the way down.
DEPTHS = {"SD 1.5": (1, 1, 1, 0), "SDXL": (0, 2, 10)}


@pytest.mark.parametrize(
    ("stem", "module"),
    [
        ("lora_unet_mid_block_attentions_0_proj_out", "unet.mid_block.attentions.0.proj_out"),
        ("lora_unet_mid_block_resnets_1_time_emb_proj", "unet.mid_block.resnets.1.time_emb_proj"),
        ("lora_unet_up_blocks_2_resnets_0_conv_shortcut", "unet.up_blocks.2.resnets.0.conv_shortcut"),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", "unet.down_blocks.0.downsamplers.0.conv"),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        ("lora_unet_time_embedding_linear_1", "unet.time_embedding.linear_1"),
        ("lora_unet_conv_in", "unet.conv_in"),
        ("lora_unet_input_blocks_0_0", "unet.conv_in"),
        ("lora_unet_input_blocks_1_0_in_layers_2", "unet.down_blocks.0.resnets.0.conv1"),
        ("lora_unet_input_blocks_3_0_op", "unet.down_blocks.0.downsamplers.0.conv"),
        ("lora_unet_input_blocks_8_1_proj_in", "unet.down_blocks.2.attentions.1.proj_in"),
        ("lora_unet_middle_block_0_emb_layers_1", "unet.mid_block.resnets.0.time_emb_proj"),
        (
            "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
            "unet.mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
        ),
        ("lora_unet_middle_block_2_out_layers_3", "unet.mid_block.resnets.1.conv2"),
        ("lora_unet_output_blocks_2_1_conv", "unet.up_blocks.0.upsamplers.0.conv"),
        ("lora_unet_output_blocks_5_2_conv", "unet.up_blocks.1.upsamplers.0.conv"),
        ("lora_unet_output_blocks_5_0_skip_connection", "unet.up_blocks.1.resnets.2.conv_shortcut"),
        (
            "lora_unet_output_blocks_3_1_transformer_blocks_1_attn1_to_out_0",
            "unet.up_blocks.1.attentions.0.transformer_blocks.1.attn1.to_out.0",
        ),
        ("lora_unet_label_emb_0_2", "unet.add_embedding.linear_2"),
        ("lora_unet_time_embed_2", "unet.time_embedding.linear_2"),
        ("lora_unet_out_2", "unet.conv_out"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc2", "text_encoder.text_model.encoder.layers.11.mlp.fc2"),
        (
            "lora_te1_text_model_encoder_layers_0_self_attn_out_proj",
            "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
        ),
        ("lora_te2_text_projection", "text_encoder_2.text_projection"),
    ],
)
def test_a_known_module_has_a_dotted_name(stem: str, module: str) -> None:
    assert dotted(stem) == module


@pytest.mark.parametrize(
    "stem",
    [
        "down_blocks_0_attentions_0_proj_in",
        "lora_unet_",
        "lora_unet_double_blocks_0_img_attn_proj",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn3_to_q",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_x_attn1_to_q",
        "lora_unet_down_blocks_0_upsamplers_0_conv",
        "lora_unet_mid_block_resnets_0_proj_in",
        "lora_unet_mid_block_attentions_0_conv1",
        "lora_unet_input_blocks_0_0_op",
        "lora_unet_input_blocks_4_0_op",
        "lora_unet_input_blocks_3_0_in_layers_2",
        "lora_unet_input_blocks_4_1_conv",
        "lora_unet_output_blocks_1_1_conv",
        "lora_unet_output_blocks_1_2_proj_in",
        "lora_unet_middle_block_3_in_layers_2",
        "lora_unet_middle_block_1_in_layers_2",
        "lora_te_text_model_encoder_layers_0_self_attn_to_q",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
        "lora_te_conv_in",
    ],
)
def test_a_name_that_fits_no_place_is_unknown(stem: str) -> None:
    assert dotted(stem) is None


# The real models


def unet_modules(config: dict[str, Any]) -> set[str]:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**config)
    return {name for name, module in unet.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)}


def ldm_modules(depths: tuple[int, ...], embedded: bool) -> Iterator[str]:
    """The maps of the original UNet in the order of its construction: two resnets a level down, three up."""

    def resnet(place: str, skips: bool) -> Iterator[str]:
        leaves = ["in_layers.2", "emb_layers.1", "out_layers.3", *(["skip_connection"] if skips else [])]
        return (f"{place}.{leaf}" for leaf in leaves)

    def attention(place: str, depth: int) -> Iterator[str]:
        leaves = [f"attn{kind}.to_{leaf}" for kind in (1, 2) for leaf in ("q", "k", "v", "out.0")] + [
            "ff.net.0.proj",
            "ff.net.2",
        ]
        yield from (f"{place}.transformer_blocks.{block}.{leaf}" for block in range(depth) for leaf in leaves)
        yield from (f"{place}.proj_in", f"{place}.proj_out")

    yield from ("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.2")
    yield from (["label_emb.0.0", "label_emb.0.2"] if embedded else [])
    index = 1
    for level, depth in enumerate(depths):
        for layer in range(2):
            # The width changes at the first resnet of each level but the first.
            yield from resnet(f"input_blocks.{index}.0", skips=level > 0 and layer == 0 and level < 3)
            yield from attention(f"input_blocks.{index}.1", depth) if depth else ()
            index += 1
        if level + 1 < len(depths):
            yield f"input_blocks.{index}.0.op"
            index += 1
    yield from resnet("middle_block.0", skips=False)
    yield from attention("middle_block.1", max(depths) if depths[-1] else 1)
    yield from resnet("middle_block.2", skips=False)
    index = 0
    for level, depth in enumerate(reversed(depths)):
        for layer in range(3):
            # Each takes a skip from the way down, so that its width changes.
            yield from resnet(f"output_blocks.{index}.0", skips=True)
            yield from attention(f"output_blocks.{index}.1", depth) if depth else ()
            if layer == 2 and level + 1 < len(depths):
                yield f"output_blocks.{index}.{2 if depth else 1}.conv"
            index += 1


@pytest.mark.parametrize("config", [SD_15, SDXL], ids=["SD 1.5", "SDXL"])
def test_every_map_of_the_real_unet_is_known_by_its_name_with_underscores(config: dict[str, Any]) -> None:
    modules = unet_modules(config)
    assert len(modules) > 250
    assert {dotted("lora_unet_" + name.replace(".", "_")) for name in modules} == {f"unet.{name}" for name in modules}


@pytest.mark.parametrize(("name", "config"), [("SD 1.5", SD_15), ("SDXL", SDXL)])
def test_every_original_name_means_the_map_that_diffusers_converts_it_to(name: str, config: dict[str, Any]) -> None:
    modules = unet_modules(config)
    conversion = pytest.importorskip("diffusers.loaders.single_file_utils")
    originals = list(ldm_modules(DEPTHS[name], "addition_embed_type" in config))
    checkpoint = {f"model.diffusion_model.{original}.{kind}": original for original in originals for kind in ("weight", "bias")}
    converted = conversion.convert_ldm_unet_checkpoint(checkpoint, {"layers_per_block": 2, **config})
    expected = {original: key.removesuffix(".weight") for key, original in converted.items() if key.endswith(".weight")}
    assert set(expected.values()) == modules
    assert {original: dotted("lora_unet_" + original.replace(".", "_")) for original in originals} == {
        original: f"unet.{module}" for original, module in expected.items()
    }


def test_every_map_of_the_real_text_encoder_is_known() -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        encoder = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig())
    modules = [name for name, module in encoder.named_modules() if isinstance(module, torch.nn.Linear)]
    assert len(modules) == 6 * 12 + 1
    assert [dotted("lora_te2_" + name.replace(".", "_")) for name in modules] == [f"text_encoder_2.{name}" for name in modules]
