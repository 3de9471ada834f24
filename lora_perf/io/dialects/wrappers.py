"""One module, many names: what programs put before the name of a module, and where two names mean one module."""

from __future__ import annotations

from collections.abc import Collection

from lora_perf.io.dialects.kohya import dotted

# What wraps a whole model: it says which program saved it, not which module it is. Longer ones stand first.
_WRAPPERS = (
    *("base_model.model.", "model.diffusion_model.", "diffusion_model.", "pipe.", "transformer.", "_orig_mod.", "module."),
    *("model.", "unet.", "dit.", "lora_transformer_", "lora_unet_", "lycoris_"),
)
# A text encoder is a component of its own, which keeps a name.
_ENCODERS = {
    "lora_te_": "text_encoder.",
    "lora_te1_": "text_encoder.",
    "lora_te2_": "text_encoder_2.",
    "lora_te3_": "text_encoder_3.",
    "text_encoders.clip_l.transformer.": "text_encoder.",
    "text_encoders.clip_g.transformer.": "text_encoder_2.",
}


def loose(module: str) -> str:
    """What the names of one module have in common: without the wrappers of the model, and with `_` for each dot.

    The original names of Stable Diffusion's UNet (`input_blocks.1.1`) become those of diffusers.

    >>> loose("transformer.blocks.0.attn.q") == loose("lora_unet_blocks_0_attn_q") == "blocks_0_attn_q"
    True
    """
    while wrapper := next((prefix for prefix in _WRAPPERS if module.startswith(prefix)), None):
        module = module.removeprefix(wrapper)
    for prefix, component in _ENCODERS.items():
        if module.startswith(prefix):
            module = component + module.removeprefix(prefix)
    name = module.replace(".", "_")
    of_unet = dotted(f"lora_unet_{name}")
    return of_unet.removeprefix("unet.").replace(".", "_") if of_unet else name


def loose_names(modules: Collection[str]) -> dict[str, str]:
    """The common name of each module of one adapter; each keeps its own where stripping would make two of them one."""
    found = {module: loose(module) for module in modules}
    return found if len(set(found.values())) == len(found) and all(found.values()) else {module: module for module in modules}
