"""How far a sketch of updates is from them: inner products of sketches beside those of the updates, measured, not promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_perf.core.layout import Layer
from lora_perf.core.zoo import Zoo
from lora_perf.representations.learned.kernel import dw_kernel, products
from lora_perf.representations.streaming import represent

SKETCH = "dw_sketch"


def is_sketch(name: str) -> bool:
    """Whether a representation is a sketch of updates, of any width."""
    return name == SKETCH or name.removeprefix(f"{SKETCH}_").isdecimal()


@dataclass(frozen=True)
class SketchError:
    """Of a draw of signs, on some adapters.

    Attributes:
        name: of the sketch.
        inner: root mean square, over pairs of different adapters, of (<Sa, Sb> - <a, b>) / (|a| |b|).
        squares: the same of (|Sa|^2 - |a|^2) / |a|^2, over adapters.
        adapters: how many.
    """

    name: str
    inner: float
    squares: float
    adapters: int

    def __str__(self) -> str:
        return (
            f"{self.name}: inner products of {self.adapters} adapters are off by {self.inner:.3f} |a| |b|, "
            f"squared norms by {self.squares:.1%} (root mean squares)"
        )


def sketch_error(zoo: Zoo, layers: Sequence[Layer] | None = None, name: str = SKETCH) -> SketchError:
    """How far `dw_sketch`, or one of another width, is from the updates of the adapters of a small zoo, of all layers or some.

        >>> import lora_perf
        >>> str(sketch_error(lora_perf.load("digits")[:64]))
        'dw_sketch: inner products of 64 adapters are off by 0.044 |a| |b|, squared norms by 16.1% (root mean squares)'

    Cost: sketches, and inner products of all pairs: n^2 r^2 (m + k) flops a module.
    """
    layers = zoo.layout.layers if layers is None else layers
    rows = torch.arange(len(zoo))
    exact = products(dw_kernel.task(zoo, layers, torch.device("cpu"), rows, 0, None), rows, rows)
    sketches = represent(zoo, [name], layers=layers)[name].values.double()
    sizes = exact.diagonal().clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    off = (sketches @ sketches.mT - exact) / (sizes[:, None] * sizes)
    apart = ~torch.eye(len(zoo), dtype=torch.bool)
    return SketchError(name, _rms(off[apart]), _rms(off.diagonal()), len(zoo))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
