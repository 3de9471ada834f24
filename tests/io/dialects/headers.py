"""Headers of adapter files as the tests need them, without any file."""

from __future__ import annotations

from lora_perf.io.dialects import TensorEntry

Header = dict[str, TensorEntry]
RANK, IN, OUT = 4, 6, 5

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
TEXT = "text_model.encoder.layers.0.self_attn"

# One pair in each spelling: the dialect, the names of down and up, and the module that they mean.
SPELLINGS = {
    "diffusers": (
        "diffusers",
        f"unet.{ATTENTION}.to_q.lora.down.weight",
        f"unet.{ATTENTION}.to_q.lora.up.weight",
        f"unet.{ATTENTION}.to_q",
    ),
    "diffusers without a component": (
        "diffusers",
        f"{ATTENTION}.to_q.lora.down.weight",
        f"{ATTENTION}.to_q.lora.up.weight",
        f"unet.{ATTENTION}.to_q",
    ),
    "diffusers, text encoder": (
        "diffusers",
        f"text_encoder.{TEXT}.q_proj.lora_linear_layer.down.weight",
        f"text_encoder.{TEXT}.q_proj.lora_linear_layer.up.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "diffusers, text encoder of transformers 5": (
        "diffusers",
        "text_encoder.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
        "text_encoder.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "diffusers, up block": (
        "diffusers",
        "unet.up_blocks.1.resnets.0.conv1.lora.down.weight",
        "unet.up_blocks.1.resnets.0.conv1.lora.up.weight",
        "unet.up_blocks.1.resnets.0.conv1",
    ),
    "diffusers, older": (
        "diffusers-old",
        f"unet.{ATTENTION}.processor.to_q_lora.down.weight",
        f"unet.{ATTENTION}.processor.to_q_lora.up.weight",
        f"unet.{ATTENTION}.to_q",
    ),
    "diffusers, older, output": (
        "diffusers-old",
        f"{ATTENTION}.processor.to_out_lora.down.weight",
        f"{ATTENTION}.processor.to_out_lora.up.weight",
        f"unet.{ATTENTION}.to_out.0",
    ),
    "diffusers, older, text encoder": (
        "diffusers-old",
        f"text_encoder.{TEXT}.to_out_lora.down.weight",
        f"text_encoder.{TEXT}.to_out_lora.up.weight",
        f"text_encoder.{TEXT}.out_proj",
    ),
    "diffusers, newer": (
        "diffusers-new",
        "transformer.transformer_blocks.0.attn.to_out.0.lora_A.weight",
        "transformer.transformer_blocks.0.attn.to_out.0.lora_B.weight",
        "transformer.transformer_blocks.0.attn.to_out.0",
    ),
    "peft": (
        "peft",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
        "model.layers.0.self_attn.q_proj",
    ),
    "peft, UNet": (
        "peft",
        f"base_model.model.{ATTENTION}.to_q.lora_A.weight",
        f"base_model.model.{ATTENTION}.to_q.lora_B.weight",
        f"unet.{ATTENTION}.to_q",
    ),
    "peft with an adapter's name": (
        "peft",
        "base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight",
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight",
        "model.layers.0.mlp.up_proj",
    ),
    "kohya, SD 1.5": (
        "kohya",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down.weight",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight",
        f"unet.{ATTENTION}.to_out.0",
    ),
    "kohya, SDXL": (
        "kohya",
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_down.weight",
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_up.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
    ),
    "kohya, text encoder": (
        "kohya",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
        f"text_encoder.{TEXT}.q_proj",
    ),
    "kohya, second text encoder": (
        "kohya",
        "lora_te2_text_model_encoder_layers_11_mlp_fc1.lora_down.weight",
        "lora_te2_text_model_encoder_layers_11_mlp_fc1.lora_up.weight",
        "text_encoder_2.text_model.encoder.layers.11.mlp.fc1",
    ),
    "kohya's endings on dotted names": (
        "kohya",
        "diffusion_model.blocks.0.cross_attn.k.lora_down.weight",
        "diffusion_model.blocks.0.cross_attn.k.lora_up.weight",
        "diffusion_model.blocks.0.cross_attn.k",
    ),
    "peft, embedding": (
        "peft",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.embed_tokens.lora_embedding_B",
        "model.embed_tokens",
    ),
    "loralib": (
        "loralib",
        "layers.0.attn.q.lora_A",
        "layers.0.attn.q.lora_B",
        "layers.0.attn.q",
    ),
    "xlabs, image": (
        "xlabs",
        "double_blocks.0.processor.qkv_lora1.down.weight",
        "double_blocks.0.processor.qkv_lora1.up.weight",
        "double_blocks.0.img_attn.qkv",
    ),
    "xlabs, text": (
        "xlabs",
        "double_blocks.0.processor.proj_lora2.down.weight",
        "double_blocks.0.processor.proj_lora2.up.weight",
        "double_blocks.0.txt_attn.proj",
    ),
    "fused by the original code of FLUX": (
        "diffusers-new",
        "double_blocks.0.img_attn.qkv.lora_A.weight",
        "double_blocks.0.img_attn.qkv.lora_B.weight",
        "double_blocks.0.img_attn.qkv",
    ),
}


def entry(*shape: int, dtype: str = "F32") -> TensorEntry:
    return TensorEntry(dtype, shape)


def pair(down: str, up: str, rank: int = RANK) -> Header:
    """The header of one linear module's factors."""
    return {down: entry(rank, IN), up: entry(OUT, rank)}


def diffusers(*modules: str, rank: int = RANK) -> Header:
    """The header of some modules in the plain diffusers dialect."""
    return {
        name: shape
        for module in modules
        for name, shape in pair(f"{module}.lora.down.weight", f"{module}.lora.up.weight", rank).items()
    }


def peft(*modules: str, rank: int = RANK) -> Header:
    """The header of some modules in PEFT's dialect."""
    return {
        name: shape
        for module in modules
        for name, shape in pair(
            f"base_model.model.{module}.lora_A.weight", f"base_model.model.{module}.lora_B.weight", rank
        ).items()
    }


def kohya(*modules: str, rank: int = RANK, alpha: tuple[int, ...] | None = ()) -> Header:
    """The header of some modules in kohya's dialect, each with an alpha of the given shape unless None."""
    header: Header = {}
    for module in modules:
        header |= pair(f"{module}.lora_down.weight", f"{module}.lora_up.weight", rank)
        if alpha is not None:
            header[f"{module}.alpha"] = entry(*alpha)
    return header
