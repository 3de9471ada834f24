"""Tensors of a file that are no factor and no alpha: true extras, or a part of the update that would be lost without a word."""

from __future__ import annotations

import re

# Tensors that change the model too, but by no product B A: noted and left out.
EXTRAS = {
    ".bias": "a bias",
    ".bias_indices": "a sparse bias",
    ".bias_values": "a sparse bias",
    ".bias_size": "a sparse bias",
    ".diff": "a full difference",
    ".diff_b": "a difference of a bias",
    ".w_norm": "a norm",
    ".b_norm": "the bias of a norm",
}
# Whole modules that were trained beside the LoRA, and the embeddings of words.
_BESIDE = re.compile(r"(^|\.)(modules_to_save|original_module|bundle_emb)(\.|$)")
_PART = re.compile(r"lora|alpha", re.IGNORECASE)


def is_part(name: str) -> bool:
    """Whether the name of a tensor that is no factor and no known alpha says that it belongs to the update of a LoRA."""
    return bool(_PART.search(name)) and not name.endswith(tuple(EXTRAS)) and not _BESIDE.search(name)
