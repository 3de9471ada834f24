"""The dotted names of kohya's modules, which write `_` for both `.` and `_`, by the structure of the models.

A name is translated place by place: the block, then what stands in it. Names that fit no place stay unknown. Both spellings
of the UNets are read: that of diffusers (kohya's SD 1.x and 2.x) and that of the original code, "LDM" (kohya's SDXL).
"""

from __future__ import annotations

import re
from functools import lru_cache

_COMPONENTS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}

# Modules that stand in no block.
_ROOTS = {
    "conv_in": "conv_in",
    "conv_out": "conv_out",
    "time_embedding_linear_1": "time_embedding.linear_1",
    "time_embedding_linear_2": "time_embedding.linear_2",
    "add_embedding_linear_1": "add_embedding.linear_1",
    "add_embedding_linear_2": "add_embedding.linear_2",
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding.linear_1",
    "time_embed_2": "time_embedding.linear_2",
    "label_emb_0_0": "add_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
}
_RESNET = {name: name for name in ("conv1", "conv2", "time_emb_proj", "conv_shortcut")}
_LDM_RESNET = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_BLOCK_OF_TRANSFORMER = {
    **{f"{kind}_{leaf}": f"{kind}.{leaf}" for kind in ("attn1", "attn2") for leaf in ("to_q", "to_k", "to_v")},
    **{f"{kind}_to_out_0": f"{kind}.to_out.0" for kind in ("attn1", "attn2")},
    "ff_net_0_proj": "ff.net.0.proj",
    "ff_net_2": "ff.net.2",
}
_ENCODER_LAYER = {
    **{f"self_attn_{leaf}": f"self_attn.{leaf}" for leaf in ("q_proj", "k_proj", "v_proj", "out_proj")},
    "mlp_fc1": "mlp.fc1",
    "mlp_fc2": "mlp.fc2",
}

_N = r"([0-9]{1,4})"
_PLACE = re.compile(rf"(?:(down|up)_blocks_{_N}|mid_block)_(attentions|resnets)_{_N}_(.+)")
_RESAMPLER = re.compile(rf"(down|up)_blocks_{_N}_\1samplers_{_N}_conv")
_LDM_PLACE = re.compile(rf"(input|output)_blocks_{_N}_([012])_(.+)")
_LDM_MIDDLE = re.compile(r"middle_block_([012])_(.+)")
_TRANSFORMER = re.compile(rf"transformer_blocks_{_N}_(.+)")
_TEXT_LAYER = re.compile(rf"text_model_encoder_layers_{_N}_(.+)")
# Each block of these UNets has two resnets on the way down, with a downsampler as a third, and three on the way up.
_LDM_STRIDE = 3


# Each name stands three times in a file (down, up, alpha) and again in the files after it; all of SDXL's fit.
@lru_cache(maxsize=4096)
def dotted(stem: str) -> str | None:
    """The canonical name of a module of a Stable Diffusion UNet (1.x, 2.x, XL) or a CLIP text encoder, None for any other."""
    for prefix, component in _COMPONENTS.items():
        if stem.startswith(prefix):
            path = stem.removeprefix(prefix)
            module = _unet(path) if component == "unet" else _text(path)
            return None if module is None else f"{component}.{module}"
    return None


def _unet(path: str) -> str | None:
    if path in _ROOTS:
        return _ROOTS[path]
    if match := _RESAMPLER.fullmatch(path):
        side, block, index = match.groups()
        return f"{side}_blocks.{block}.{side}samplers.{index}.conv"
    if match := _PLACE.fullmatch(path):
        side, block, kind, index, rest = match.groups()
        leaf = _attention(rest) if kind == "attentions" else _RESNET.get(rest)
        return _join(f"{side}_blocks.{block}" if side else "mid_block", kind, index, leaf)
    if match := _LDM_MIDDLE.fullmatch(path):
        place, rest = int(match[1]), match[2]
        # resnet, attention, resnet
        if place == 1:
            return _join("mid_block", "attentions", "0", _attention(rest))
        return _join("mid_block", "resnets", str(place // 2), _LDM_RESNET.get(rest))
    if match := _LDM_PLACE.fullmatch(path):
        return _ldm_place(match[1], int(match[2]), match[3], match[4])
    return None


def _ldm_place(side: str, index: int, place: str, rest: str) -> str | None:
    """The module of `input_blocks_<index>_<place>_<rest>`: a resnet or a downsampler, attention, an upsampler."""
    if side == "input":
        # The first input block is conv_in.
        index -= 1
        if index < 0:
            return None
    block, layer = divmod(index, _LDM_STRIDE)
    name = f"{'down' if side == 'input' else 'up'}_blocks.{block}"
    if side == "input" and layer == _LDM_STRIDE - 1:
        return f"{name}.downsamplers.0.conv" if (place, rest) == ("0", "op") else None
    if place == "0":
        return _join(name, "resnets", str(layer), _LDM_RESNET.get(rest))
    if rest == "conv":
        return f"{name}.upsamplers.0.conv" if side == "output" and layer == _LDM_STRIDE - 1 else None
    return _join(name, "attentions", str(layer), _attention(rest)) if place == "1" else None


def _attention(rest: str) -> str | None:
    if rest in ("proj_in", "proj_out"):
        return rest
    match = _TRANSFORMER.fullmatch(rest)
    return _join("transformer_blocks", match[1], _BLOCK_OF_TRANSFORMER.get(match[2])) if match else None


def _text(path: str) -> str | None:
    if path == "text_projection":
        return path
    match = _TEXT_LAYER.fullmatch(path)
    return _join("text_model.encoder.layers", match[1], _ENCODER_LAYER.get(match[2])) if match else None


def _join(*parts: str | None) -> str | None:
    """The parts with dots between them, None where one is unknown."""
    known = [part for part in parts if part is not None]
    return ".".join(known) if len(known) == len(parts) else None
