"""What the header of an adapter file means: its pairs of factors and where the scale of each comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a safetensors header: its dtype as the format writes it ("F32", "BF16", ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What something else than the tensor `alpha` states of the scale of a module that has one."""

    where: str
    scale: float
    other: float | None
    """A second value that would agree as well: a default may have been kept as the alpha or as the scale."""
    binding: bool
    """Whether a contradiction is an error; else the tensor counts, and the contradiction is a problem."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two factors of one module's update dW = s B A, by the names of their tensors in the file.

    Shapes:
        down_shape (r, k) and up_shape (m, r) are those of A and B after flattening: a convolution's down
        (r, in, kh, kw) is the matrix (r, in * kh * kw), its up (m, r, 1, 1) the matrix (m, r). Where the factors are
        `transposed`, the file holds A^T (k, r) and B^T (r, m).
    """

    module: str
    down: str
    up: str
    down_shape: tuple[int, int]
    up_shape: tuple[int, int]
    scale: float | None
    """s, or None where it is the value of the tensor `alpha` over the rank."""
    alpha: str | None
    """The name of the tensor of one element that holds alpha, or None where `scale` is known."""
    claims: tuple[Claim, ...] = ()
    """What else is stated of the scale, where it comes from `alpha`."""
    down_scale: str | None = None
    """The name of the tensor, one number or one a row, that the quantised values of the down are multiplied with."""
    up_scale: str | None = None
    """The same of the up."""
    transposed: bool = False

    @property
    def rank(self) -> int:
        return self.down_shape[0]

    @property
    def down_layer(self) -> str:
        """The name of the down in the layout of a zoo."""
        return f"{self.module}.lora.down.weight"

    @property
    def up_layer(self) -> str:
        """The name of the up in the layout of a zoo."""
        return f"{self.module}.lora.up.weight"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a header means.

    `pairs` are sorted by module, so that files of one model agree whatever the order of their keys.
    """

    dialect: str
    """"diffusers" (lora.down), "diffusers-old" (processor.to_q_lora), "diffusers-new" (lora_A), "peft", "kohya", "xlabs"
    (qkv_lora1), "loralib" (lora_A without .weight) or "mlx" (lora_a)."""
    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]
    """Tensors that are one side of a LoRA whose other side is missing."""
    unsupported: tuple[str, ...]
    """Tensors whose names say that they are a part of the update, and that are not read."""
    other: tuple[str, ...]
    """Tensors that are no part of a LoRA, and alphas that no pair uses."""
    unknown: tuple[str, ...]
    """Modules of a kohya file whose dotted name is unknown: they keep their name with underscores."""
    rslora: bool
    """Whether a scale is alpha / sqrt(r)."""
    notes: tuple[str, ...]
    """Sentences that a reader of the adapter should see, such as a scale that had to be assumed."""
    problems: tuple[str, ...]
    """Sentences of what is stated and not used, or contradicted by what counts more."""
