"""Headers of adapter files as the tests need them, without any file."""

from __future__ import annotations

from typing import Any

import pytest

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects import TensorEntry, read_names

Header = dict[str, TensorEntry]
RANK, IN, OUT = 4, 6, 5

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
TEXT = "text_model.encoder.layers.0.self_attn"

# One pair in each spelling: the dialect, the names of down and up, and the module that they mean. The side stands in braces.
_SPELLINGS = {
    "diffusers": ("diffusers", f"unet.{ATTENTION}.to_q.lora.{{}}.weight", f"unet.{ATTENTION}.to_q"),
    "diffusers without a component": ("diffusers", f"{ATTENTION}.to_q.lora.{{}}.weight", f"unet.{ATTENTION}.to_q"),
    "diffusers, text encoder": (
        "diffusers",
        f"text_encoder.{TEXT}.q_proj.lora_linear_layer.{{}}.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "diffusers, text encoder of transformers 5": (
        "diffusers",
        "text_encoder.encoder.layers.0.self_attn.q_proj.lora_linear_layer.{}.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "diffusers, up block": ("diffusers", "unet.up_blocks.1.resnets.0.conv1.lora.{}.weight", "unet.up_blocks.1.resnets.0.conv1"),
    "diffusers, older": ("diffusers-old", f"unet.{ATTENTION}.processor.to_q_lora.{{}}.weight", f"unet.{ATTENTION}.to_q"),
    "diffusers, older, output": (
        "diffusers-old",
        f"{ATTENTION}.processor.to_out_lora.{{}}.weight",
        f"unet.{ATTENTION}.to_out.0",
    ),
    "diffusers, older, text encoder": (
        "diffusers-old",
        f"text_encoder.{TEXT}.to_out_lora.{{}}.weight",
        f"text_encoder.{TEXT}.out_proj",
    ),
    "diffusers, newer": (
        "diffusers-new",
        "transformer.transformer_blocks.0.attn.to_out.0.lora_{}.weight",
        "transformer.transformer_blocks.0.attn.to_out.0",
    ),
    "peft": ("peft", "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight", "model.layers.0.self_attn.q_proj"),
    "peft, UNet": ("peft", f"base_model.model.{ATTENTION}.to_q.lora_{{}}.weight", f"unet.{ATTENTION}.to_q"),
    "peft with an adapter's name": (
        "peft",
        "base_model.model.model.layers.0.mlp.up_proj.lora_{}.default.weight",
        "model.layers.0.mlp.up_proj",
    ),
    "kohya, SD 1.5": (
        "kohya",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_{}.weight",
        f"unet.{ATTENTION}.to_out.0",
    ),
    "kohya, SDXL": (
        "kohya",
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_{}.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
    ),
    "kohya, text encoder": (
        "kohya",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_{}.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "kohya, second text encoder": (
        "kohya",
        "lora_te2_text_model_encoder_layers_11_mlp_fc1.lora_{}.weight",
        "text_encoder_2.text_model.encoder.layers.11.mlp.fc1",
    ),
    "kohya's endings on dotted names": (
        "kohya",
        "diffusion_model.blocks.0.cross_attn.k.lora_{}.weight",
        "diffusion_model.blocks.0.cross_attn.k",
    ),
    "peft, embedding": ("peft", "base_model.model.model.embed_tokens.lora_embedding_{}", "model.embed_tokens"),
    "loralib": ("loralib", "layers.0.attn.q.lora_{}", "layers.0.attn.q"),
    "xlabs, image": ("xlabs", "double_blocks.0.processor.qkv_lora1.{}.weight", "double_blocks.0.img_attn.qkv"),
    "xlabs, text": ("xlabs", "double_blocks.0.processor.proj_lora2.{}.weight", "double_blocks.0.txt_attn.proj"),
    "fused by the original code of FLUX": (
        "diffusers-new",
        "double_blocks.0.img_attn.qkv.lora_{}.weight",
        "double_blocks.0.img_attn.qkv",
    ),
}
_SIDES = dict.fromkeys(("diffusers-new", "peft", "loralib"), ("A", "B"))
SPELLINGS = {
    title: (dialect, *(name.format(side) for side in _SIDES.get(dialect, ("down", "up"))), module)
    for title, (dialect, name, module) in _SPELLINGS.items()
}


def entry(*shape: int, dtype: str = "F32") -> TensorEntry:
    return TensorEntry(dtype, shape)


def pair(down: str, up: str, rank: int = RANK) -> Header:
    """The header of one linear module's factors."""
    return {down: entry(rank, IN), up: entry(OUT, rank)}


def named(down: str, up: str, *modules: str, rank: int = RANK) -> Header:
    """The header of some modules by the names of their sides, in which braces stand for the module."""
    header: Header = {}
    for module in modules:
        header |= pair(down.format(module), up.format(module), rank)
    return header


def diffusers(*modules: str, rank: int = RANK) -> Header:
    """The header of some modules in the plain diffusers dialect."""
    return named("{}.lora.down.weight", "{}.lora.up.weight", *modules, rank=rank)


def peft(*modules: str, rank: int = RANK) -> Header:
    """The header of some modules in PEFT's dialect."""
    return named("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight", *modules, rank=rank)


def kohya(*modules: str, rank: int = RANK, alpha: tuple[int, ...] | None = ()) -> Header:
    """The header of some modules in kohya's dialect, each with an alpha of the given shape unless None."""
    alphas = {} if alpha is None else {f"{module}.alpha": entry(*alpha) for module in modules}
    return named("{}.lora_down.weight", "{}.lora_up.weight", *modules, rank=rank) | alphas


def refuses(header: Header, message: str, *arguments: Any, **settings: Any) -> None:
    """The header is not read, and the error holds the message, a regular expression."""
    with pytest.raises(LoraPerfError, match=message):
        read_names(header, *arguments, **settings)
