"""The one grammar of the names of factors, for the columns of tables, the tensors of files and the layers of a layout alike."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Side = Literal["down", "up"]
"""Of the two factors of dW = s B A: "down" is A (r, k), "up" is B (m, r)."""

_SIDES: dict[str, Side] = {"down": "down", "up": "up", "A": "down", "B": "up", "a": "down", "b": "up"}
MLX, LORALIB, XLABS = "mlx", "loralib", "xlabs"
# A module is what stands before a complete ending, never a part of it. The group that holds the side tells the dialect.
_FACTOR = re.compile(
    r"(?P<stem>.+)(?:"
    r"\.lora(?:_linear_layer)?\.(?P<diffusers>down|up)\.weight"
    # qkv_lora1 and proj_lora2 in x-flux: one pair for the image, one for the text, so that the number belongs to the module.
    r"|(?<=_lora[12])\.(?P<xlabs>down|up)\.weight"
    r"|_lora\.(?P<diffusers_old>down|up)\.weight"
    r"|\.lora_(?P<kohya>down|up)\.weight"
    r"|\.lora_(?P<diffusers_new>[AB])(?:\.[^.]+)?\.weight"
    # An embedding is the linear map of one-hot rows: its A (r, number of embeddings) and B (m, r) need no other treatment.
    r"|\.lora_embedding_(?P<embedding>[AB])(?:\.[^.]+)?"
    r"|\.lora_(?P<loralib>[AB])"
    # MLX multiplies from the right, x a b: its lora_a is A^T (k, r), its lora_b is B^T (r, m).
    r"|\.lora_(?P<mlx>[ab])"
    r")"
)
_DIALECTS = {"diffusers_old": "diffusers-old", "diffusers_new": "diffusers-new", "embedding": "diffusers-new"}
_ALPHA = re.compile(r"(?P<base>.+)\.(lora_|network_)?alpha")


class Factor(NamedTuple):
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
    match = _FACTOR.fullmatch(name)
    if match is None:
        return None
    group = match.lastgroup or ""
    shared = name[: match.start(group)] + name[match.end(group) :]
    return Factor(_DIALECTS.get(group, group), match["stem"], _SIDES[match[group]], shared)


def parse_name(name: str) -> tuple[str, Side] | None:
    """Module and side of a layer's name, or None where the name is no factor, or one of a transposed matrix (MLX)."""
    match = _FACTOR.fullmatch(name) if "lora" in name else None
    if match is None or match.lastgroup is None or match.lastgroup == MLX:
        return None
    return match["stem"], _SIDES[match[match.lastgroup]]


def alpha_base(name: str) -> str | None:
    """What stands before `.alpha` (or `.lora_alpha`, `.network_alpha`), None for any other name."""
    match = _ALPHA.fullmatch(name)
    return match["base"] if match else None
