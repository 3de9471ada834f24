"""The shapes of factors, of linear maps and of convolutions, as the matrices of one product."""

from __future__ import annotations

from math import prod

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects.kinds import EXPERTS
from lora_perf.io.dialects.schema import TensorEntry


def flat_shapes(
    module: str, down: tuple[int, ...], up: tuple[int, ...], *, transposed: bool = False
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of the down (r, k) and the up (m, r) after flattening.

    Shapes:
        A convolution's down (r, in, kh, kw) becomes (r, in * kh * kw); its up is (m, r, 1, 1). Transposed factors are
        matrices (k, r) and (r, m).

    Raises:
        LoraPerfError: an axis of no element, fewer than two axes, an up with a kernel, or ranks that disagree.
    """
    if (0,) in (down, up):
        raise LoraPerfError(
            expected=f"the weights of {module}",
            found="tensors of no element, as ZeRO-3 of DeepSpeed leaves them where each process holds a part",
            fix="save the adapter again with the weights gathered (stage3_gather_16bit_weights_on_model_save)",
        )
    if len(down) == len(up) == 3 and down[0] == up[0] and up[2] != 1:
        raise LoraPerfError(
            expected=f"two matrices for {module}",
            found=f"{EXPERTS}, one pair for each of the {down[0]}, in shapes {down} and {up}",
            fix="leave the adapter out, or convert it to one pair an expert with the program that trained it",
        )
    for side, shape in (("down", down), ("up", up)):
        if len(shape) < 2 or min(shape) < 1:
            raise LoraPerfError(
                expected=f"a {side} of {module} with at least two axes, none of them empty",
                found=f"shape {shape}" + " (ZeRO-3 and FSDP leave such parts of weights)" * (len(shape) == 1),
                fix="save the adapter again with the weights gathered, or leave it out: it is damaged",
            )
    if transposed and len(down) == len(up) == 2:
        down, up = down[::-1], up[::-1]
    if prod(up[2:]) != 1:
        raise LoraPerfError(
            expected=f"an up (m, r) or (m, r, 1, 1) of {module}",
            found=f"shape {up}, a kernel on the up side",
            fix="leave the adapter out: a convolution after the up is no product s B A",
        )
    if down[0] != up[1]:
        raise LoraPerfError(
            expected=f"a down (r, k) and an up (m, r) of one rank for {module}",
            found=f"shapes {down} and {up}",
            fix="leave the adapter out: the two are not factors of one update (convolutions in groups are not read)",
        )
    return (down[0], prod(down[1:])), (up[0], up[1])


def check_alpha(name: str, entry: TensorEntry) -> None:
    """Refuses an alpha that is no single number."""
    if prod(entry.shape) != 1:
        raise LoraPerfError(
            expected=f"one number in {name}",
            found=f"shape {entry.shape}",
            fix="leave the adapter out: its scale is not one number a module",
        )
