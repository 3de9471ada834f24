"""Fixed random vectors of modules: the same on every machine, in every zoo, and whatever other modules there are.

They follow from the module's name and the length alone. Philox's stream of 64-bit words is fixed by its definition (Salmon
et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), and what is made of the words is exact, so that no library's
normal deviates or logarithms play a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.layout import Module

SKETCH_WIDTH = 16


class FixedVectors:
    """The vectors of g modules of one shape (m, k), float64 on a device; each kind is made on first use.

    Args:
        draw: 0, whose vectors are those of all other zoos and programs, or another draw of all of them.
    """

    def __init__(self, modules: Sequence[Module], device: torch.device, draw: int = 0) -> None:
        self.modules = tuple(modules)
        self._device, self._draw = device, draw
        self._kept: dict[tuple[str, int], Tensor] = {}

    @cached_property
    def left(self) -> Tensor:
        """(g, m, 16) of random signs over the root of 16: P of the sketch P^T dW Q."""
        return self.signs("left", SKETCH_WIDTH)

    @cached_property
    def right(self) -> Tensor:
        """(g, k, 16) of random signs over the root of 16: Q of the sketch P^T dW Q."""
        return self.signs("right", SKETCH_WIDTH)

    def signs(self, side: Literal["left", "right"], width: int) -> Tensor:
        """(g, m or k, width) of random signs over the root of the width; made once."""
        if (side, width) not in self._kept:
            axis = 0 if side == "left" else 1
            signs = [_signs(one, side, one.shape[axis], width, self._draw) for one in self.modules]
            self._kept[side, width] = self._stacked(signs)
        return self._kept[side, width]

    @cached_property
    def poles(self) -> Tensor:
        """(g, m) uniform in (-1, 1): the poles of `dw_canonical` are turned to their side."""
        return self._stacked([_words(one, "pole", one.shape[0], self._draw) / 2.0**63 - 1 for one in self.modules])

    def _stacked(self, of_modules: list[NDArray[np.float64]]) -> Tensor:
        return torch.from_numpy(np.stack(of_modules)).to(self._device)


def _signs(module: Module, purpose: str, length: int, width: int, draw: int) -> NDArray[np.float64]:
    words = _words(module, purpose, -(-length * width // 64), draw)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=length * width, bitorder="little")
    signs: NDArray[np.float64] = (bits.reshape(length, width) * 2.0 - 1) / width**0.5
    return signs


def _words(module: Module, purpose: str, count: int, draw: int) -> NDArray[np.uint64]:
    # The path leaves out how a module was wrapped: `unet.` and `base_model.model.` before a name do not change it.
    seed = f"{purpose} {'.'.join(module.up.path)} {module.shape[0]} {module.shape[1]}" + f" draw {draw}" * bool(draw)
    return np.random.Philox(key=xxhash.xxh3_128_intdigest(seed.encode())).random_raw(count)
