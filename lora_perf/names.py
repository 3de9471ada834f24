"""The one grammar of the names of factors, for the columns of tables, the tensors of files and the layers of a layout alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Side = Literal["down", "up"]
"""Of the two factors of dW = s B A: "down" is A (r, k), "up" is B (m, r)."""

_SIDES: dict[str, Side] = {"down": "down", "up": "up", "A": "down", "B": "up", "a": "down", "b": "up"}
MLX, LORALIB, XLABS = "mlx", "loralib", "xlabs"
# Tried in this order, each on the whole name: a module is what stands before a complete ending, never a part of it.
_SPELLINGS = (
    ("diffusers", re.compile(r"(?P<stem>.+)\.lora(_linear_layer)?\.(?P<side>down|up)\.weight")),
    # qkv_lora1 and proj_lora2 in x-flux: one pair for the image, one for the text, so that the number belongs to the module.
    (XLABS, re.compile(r"(?P<stem>.+_lora[12])\.(?P<side>down|up)\.weight")),
    ("diffusers-old", re.compile(r"(?P<stem>.+)_lora\.(?P<side>down|up)\.weight")),
    ("kohya", re.compile(r"(?P<stem>.+)\.lora_(?P<side>down|up)\.weight")),
    ("diffusers-new", re.compile(r"(?P<stem>.+)\.lora_(?P<side>A|B)(\.[^.]+)?\.weight")),
    # An embedding is the linear map of one-hot rows: its A (r, number of embeddings) and B (m, r) need no other treatment.
    ("diffusers-new", re.compile(r"(?P<stem>.+)\.lora_embedding_(?P<side>A|B)(\.[^.]+)?")),
    (LORALIB, re.compile(r"(?P<stem>.+)\.lora_(?P<side>A|B)")),
    # MLX multiplies from the right, x a b: its lora_a is A^T (k, r), its lora_b is B^T (r, m).
    (MLX, re.compile(r"(?P<stem>.+)\.lora_(?P<side>a|b)")),
)
_ALPHA = re.compile(r"(?P<base>.+)\.(lora_|network_)?alpha")


@dataclass(frozen=True, slots=True)
class Factor:
    """The name of one factor of a module, taken apart.

    `stem` is the module as the name has it; `shared` is the name without its side, the same letter by letter for the two of
    a pair.
    """

    dialect: str
    stem: str
    side: Side
    shared: str

    @property
    def transposed(self) -> bool:
        """Whether the tensor is A^T (k, r) or B^T (r, m)."""
        return self.dialect == MLX


def parse_factor(name: str) -> Factor | None:
    """The name of a factor taken apart, None for any other name."""
    # All endings hold one of these; most names of other columns do not, and are done.
    if "lora" not in name:
        return None
    for dialect, pattern in _SPELLINGS:
        match = pattern.fullmatch(name)
        if match:
            shared = name[: match.start("side")] + name[match.end("side") :]
            return Factor(dialect, match["stem"], _SIDES[match["side"]], shared)
    return None


def alpha_base(name: str) -> str | None:
    """What stands before `.alpha` (or `.lora_alpha`, `.network_alpha`), None for any other name."""
    match = _ALPHA.fullmatch(name)
    return match["base"] if match else None
