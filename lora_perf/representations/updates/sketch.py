"""A random sketch of the update dW = s B A."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.representations.factors.matrices import columns
from lora_perf.representations.kinds import PerModule, of_modules
from lora_perf.representations.registry import NUMBERED, REPRESENTATIONS
from lora_perf.representations.updates.fixed import SKETCH_WIDTH
from lora_perf.representations.updates.modules import Modules

_WIDEST = 1024


def _names(width: int) -> tuple[str, ...]:
    return tuple(f"p{i}q{j}" for i in range(width) for j in range(width))


def _sketched(x: Modules, width: int) -> Tensor:
    left, right = projected(x.up, x.fixed.signs("left", width)), projected(x.down, x.fixed.signs("right", width))
    return columns((left @ right.mT * x.factor[:, None, None]).flatten(1))


_NAMES = _names(SKETCH_WIDTH)


@of_modules("dw_sketch", lambda _: _NAMES, drawn=True)
def dw_sketch(x: Modules) -> Tensor:
    """P^T dW Q with fixed random signs P (m, 16) and Q (k, 16) over the root of 16: 256 numbers a module, linear in dW.

    Inner products of sketches are those of the updates in expectation (Johnson and Lindenstrauss; the signs are Achlioptas's).
    What a draw of signs makes of them on the adapters at hand is measured by `sketch_error`, and told by an experiment: on
    `digits` inner products are off by .044 |a| |b| (root mean square over pairs), and ridge reads .905 to .960 by the draw,
    where dW itself gives .975. The squared norm of a rank-1 update is off by sqrt((1 + 2/16)^2 - 1) = 52 % (standard deviation)
    in one module. P and Q follow from the module's name and shape alone (see `fixed`), so sketches of different zoos can be
    compared. Another width is another name: `dw_sketch_32` has 1,024 numbers a module.

    Cost: 16 (m + k) r multiplications an update.
    """
    return _sketched(x, SKETCH_WIDTH)


def sketch_of_width(width: int) -> PerModule:
    """`dw_sketch` of another width, under its name with the width.

    Raises:
        LoraPerfError: a width of less than 1 or more than 1,024.
    """
    if not 1 <= width <= _WIDEST:
        raise LoraPerfError(
            expected=f"a width of dw_sketch from 1 to {_WIDEST}", found=str(width), fix="name another, as dw_sketch_32"
        )
    names = _names(width)
    return PerModule(f"dw_sketch_{width}", lambda _: names, lambda x: _sketched(x, width), drawn=True, family=NUMBERED)


def with_width(name: str, width: int) -> str:
    """The name of a representation where that of `dw_sketch` is to have another width."""
    return f"dw_sketch_{width}" if name == "dw_sketch" and width != SKETCH_WIDTH else name


REPRESENTATIONS.numbered["dw_sketch"] = sketch_of_width


def projected(factor: Tensor, vectors: Tensor) -> Tensor:
    """(q, w, r) products of the factors (q, i, r) with the vectors (g, i, w) of their modules."""
    of_modules = factor.unflatten(0, (len(vectors), -1))
    return torch.cat([torch.bmm(one.mT.expand(len(some), -1, -1), some) for one, some in zip(vectors, of_modules, strict=True)])
