"""The names of tensors in each dialect: which side of which module, and the module's canonical name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from lora_perf.core.names import XLABS, Factor, Side, alpha_base, parse_factor
from lora_perf.io.dialects.kohya import dotted

_PEFT = "base_model.model."
_BLOCK = re.compile(r"(down_blocks|mid_block|up_blocks)\.")
# Modules of a UNet that stand in no block: other models have such names too.
_ROOT = re.compile(r"(conv_in|conv_out|(time|add)_embedding\.linear_[12])")
_TEXT = re.compile(r"(text_encoder(_2)?\.)(encoder\.layers\.)")
# The two pairs of x-flux's processor: the first is applied to the image's stream, the second to the text's.
_STREAMS = {"1": "img_attn", "2": "txt_attn"}
_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor's place: the dialect that names it so, its module and its side.

    `module` is the canonical name; `path` is how the file names the module, as the patterns of a configuration see it;
    `shared` is the tensor's name without its side, the same letter by letter for the two of a pair. `known` is False for a
    module of kohya's whose dots are unknown.
    """

    dialect: str
    shared: str
    path: str
    module: str
    side: Side
    known: bool = True


@lru_cache(maxsize=1 << 12)  # the adapters of a zoo have the same names, more than once each
def parse_part(name: str) -> Part | None:
    """The place of a factor of a LoRA by its tensor's name, or None for any other tensor."""
    factor = parse_factor(name)
    part = None if factor is None else _part(factor)
    # Nothing but a wrapper stood before the ending.
    return part if part is not None and part.module else None


def _part(factor: Factor) -> Part:
    dialect, stem = factor.dialect, factor.stem
    path, known = stem.removeprefix(_PEFT), True
    module = path
    if dialect == "kohya" and "." not in stem:
        found = dotted(stem)
        known = found is not None
        path = module = found or stem
    elif dialect == "diffusers-old":
        module = _old_module(path)
    elif dialect == XLABS:
        parent, _, leaf = path.rpartition(".")
        kind, _, number = leaf.rpartition("_lora")
        module = f"{parent}.{_STREAMS[number]}.{kind}" if parent else f"{_STREAMS[number]}.{kind}"
    elif dialect == "diffusers-new" and (path != stem or f".{_PEFT}" in stem):  # a wrapper of PyTorch's may stand before
        dialect = "peft"
    return Part(dialect, factor.shared, path, canonical(module), factor.side, known)


def parse_alpha(name: str) -> str | None:
    """The canonical module that a tensor named `<module>.alpha` belongs to, or None for any other name."""
    base = alpha_base(name) if name.endswith("alpha") else None
    if base is None:
        return None
    if "." not in base:
        return dotted(base) or base
    # Alphas stand beside the module, beside its wrapper or beside its factor.
    for ending in ("", ".weight", ".down.weight"):
        part = parse_part(base + ending)
        if part:
            return part.module
    return canonical(base.removeprefix(_PEFT))


def canonical(module: str) -> str:
    """A dotted module name as the newest diffusers writes it, with the model's component in front where it is certain."""
    if "processor" in module:
        module = ".".join(part for part in module.split(".") if part != "processor")
    if _BLOCK.match(module):
        return f"unet.{module}"
    # transformers 5 left out the level `text_model` that older files of the same encoder name.
    return _TEXT.sub(r"\1text_model.\3", module, count=1) if _TEXT.match(module) else module


def settle(modules: Iterable[str]) -> Callable[[str], str]:
    """What completes the canonical names of one file: `unet.` before conv_in and the like, where its blocks are a UNet's."""
    is_unet = any(module.startswith("unet.") for module in modules)
    return lambda module: f"unet.{module}" if is_unet and _ROOT.fullmatch(module) else module


def _old_module(stem: str) -> str:
    """The module of `<...>.processor.to_q_lora`: to_q, to_out.0, or q_proj within a text encoder's self_attn."""
    parent, _, leaf = stem.rpartition(".")
    if parent.endswith("self_attn") and leaf in _PROJECTIONS:
        leaf = _PROJECTIONS[leaf]
    elif leaf == "to_out":
        leaf = "to_out.0"
    return f"{parent}.{leaf}" if parent else leaf
