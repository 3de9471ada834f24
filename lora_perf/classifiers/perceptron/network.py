"""The multilayer perceptron of several runs at once: stacked weights, one batched product a layer for all runs.

Forward and backward are written out: gradients go straight into a buffer that lives as long as the stack, and the
same few kernels run whether the stack holds one run or ten. Batch norm sees the layers of all runs as one matrix
(b, s * h); for a single run that is a view. The hidden layers have no bias, since batch norm subtracts it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

_MOMENTUM = 0.1
_EPS = 1e-5  # both as in torch.nn.BatchNorm1d
# Masks are drawn for this many steps in one call, so that they cost few launches and little memory.
_MASK_STEPS = 16
# Entries of a first layer whose gradient is made and used tile by tile: larger than what the caches of a core hold.
_TILED = 8 << 20


class Perceptron:
    """s perceptrons of one shape: (Linear, BatchNorm, ReLU, Dropout) x layers, Linear.

    Attributes:
        sizes: (f, h, c).
        parameters: (s, p), each run's weights, gains, offsets and bias in one row, so that Adam sees one tensor a run.
        gradients: (s, p), filled anew by each `backward`; without those of the first layer where that is `tiled`.
        tiled: whether this is one run on a CPU whose first layer is so wide that a gradient of it is never held: `first` is
            handed what it is made of.
        running: mean and variance (s, h) of each hidden layer.
        weights: layers + 1 of (s, out, in), views of `parameters`.
    """

    def __init__(
        self, parameters: Tensor, running: Sequence[Tensor], sizes: tuple[int, int, int], tiled: bool | None = None
    ) -> None:
        self.sizes = sizes
        self.layers = len(running) // 2
        self.parameters = parameters
        entries = sizes[0] * sizes[1]
        alone = len(parameters) == 1 and parameters.device.type == "cpu"
        self.tiled = alone and entries >= _TILED if tiled is None else tiled
        self.first: Callable[[Tensor, Tensor], None] | None = None
        self._skipped = entries if self.tiled else 0
        self.gradients = torch.zeros_like(parameters[:, self._skipped :])
        self.running = list(running)
        self.weights, self._gains, self._offsets, self.bias = self._pieces(parameters)
        self._of_weights, self._of_gains, self._of_offsets, self._of_bias = self._pieces(self.gradients, int(self.tiled))
        self.shadows: dict[int, Tensor] = {}
        flat = [tensor.view(-1) for tensor in running]
        self._norms = list(zip(flat[0::2], flat[1::2], strict=True))
        self._tape: list[tuple[Tensor, ...]] = []

    def _pieces(self, rows: Tensor, without: int = 0) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Weights, gains, offsets and bias in the rows, which may lack the first of the weights."""
        shapes = _shapes(self.sizes, self.layers)[without:]
        cut = [
            part.unflatten(1, shape)
            for part, shape in zip(rows.split([prod(shape) for shape in shapes], dim=1), shapes, strict=True)
        ]
        count = self.layers + 1 - without
        vectors = cut[count:]
        return [rows[:, :0]] * without + cut[:count], vectors[0:-1:2], vectors[1:-1:2], vectors[-1]

    def dense(self, k: int) -> Tensor:
        """The parameters of run k that `gradients` has gradients of."""
        return self.parameters[k, self._skipped :]

    def _weight(self, layer: int, dtype: torch.dtype) -> Tensor:
        """The weights (s, out, in) of a layer in the type of the products, where they are not in it: in a buffer that stays."""
        weight = self.weights[layer]
        if weight.dtype == dtype:
            return weight
        if layer not in self.shadows:
            self.shadows[layer] = torch.empty(weight.shape, dtype=dtype, device=weight.device)
        elif layer == 0 and self.first is not None:
            return self.shadows[layer]  # which `first` keeps as the weights are
        return self.shadows[layer].copy_(weight)

    @classmethod
    def drawn(
        cls,
        generators: Sequence[Generator],
        sizes: tuple[int, int, int],
        layers: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Perceptron:
        """One run per CPU generator, initialised as nn.Linear and nn.BatchNorm1d are; sizes are (f, h, c)."""
        s, h = len(generators), sizes[1]
        shapes = _shapes(sizes, layers)
        rows = torch.zeros(s, sum(prod(shape) for shape in shapes), dtype=dtype)
        running = [fill(s, h, dtype=dtype, device=device) for _ in range(layers) for fill in (torch.zeros, torch.ones)]
        net = cls(rows, running, sizes)
        for k, generator in enumerate(generators):
            for weight in net.weights:
                bound = 1 / sqrt(weight.shape[2])
                weight[k].uniform_(-bound, bound, generator=generator)
            net.bias[k].uniform_(-bound, bound, generator=generator)
        for gain in net._gains:
            gain.fill_(1)
        return cls(rows.to(device), running, sizes)

    def __len__(self) -> int:
        return len(self.parameters)

    def state(self, k: int) -> list[Tensor]:
        """All tensors that make up run k, as views."""
        return [self.parameters[k], *(tensor[k] for tensor in self.running)]

    def select(self, runs: Sequence[int]) -> Perceptron:
        """A copy that holds some of the runs only."""
        chosen = torch.tensor(runs, device=self.parameters.device)
        return Perceptron(self.parameters[chosen], [tensor[chosen] for tensor in self.running], self.sizes, self.tiled)

    def forward(self, x: Tensor, keep: Sequence[Tensor] | None = None) -> Tensor:
        """The logits (s, b, c) of a train batch, and the tape for `backward`.

        Shapes: x (s, b, f), which decides the type of the products; keep: a mask (b, s * h) a layer, 0 or 1 / (1 - rate).
        Cost: 2 b flops a weight.
        """
        s, b, _ = x.shape
        self._tape = []
        source = x
        for layer in range(self.layers):
            weight = self._weight(layer, x.dtype)
            z = torch.bmm(source, weight.transpose(1, 2)).transpose(0, 1).reshape(b, -1)
            gain, offset = self._gains[layer].reshape(-1), self._offsets[layer].reshape(-1)
            mean, variance = self._norms[layer]
            out, batch_mean, batch_scale = torch.native_batch_norm(z, gain, offset, mean, variance, True, _MOMENTUM, _EPS)
            out.clamp_min_(0)
            if keep is not None:
                out.mul_(keep[layer])
            self._tape.append((source, weight, z, gain, batch_mean, batch_scale, out))
            source = out.view(b, s, -1).transpose(0, 1)
        weight = self._weight(self.layers, x.dtype)
        self._tape.append((source, weight))
        return torch.baddbmm(self.bias.to(x.dtype).unsqueeze(1), source, weight.transpose(1, 2))

    def backward(self, gradient: Tensor, kept: float = 1.0) -> None:
        """Fills `gradients` from the gradient (s, b, c) of the logits; `kept` is the share that dropout keeps.

        Cost: 4 b flops a weight, 2 b for those of the first layer.
        """
        s, b, _ = gradient.shape
        source, weight = self._tape.pop()
        self._of_bias.copy_(gradient.sum(dim=1))
        _product(gradient.transpose(1, 2), source, self._of_weights[-1])
        for layer in reversed(range(self.layers)):
            gradient = torch.bmm(gradient, weight).transpose(0, 1).reshape(b, -1)
            source, weight, z, gain, batch_mean, batch_scale, out = self._tape.pop()
            # What ReLU or dropout made zero passes nothing on.
            gradient = torch.ops.aten.threshold_backward(gradient, out, 0)
            if kept != 1:
                gradient.mul_(1 / kept)
            mean, variance = self._norms[layer]
            gradient, of_gain, of_offset = torch.ops.aten.native_batch_norm_backward(
                gradient, z, gain, mean, variance, batch_mean, batch_scale, True, _EPS, (True, True, True)
            )
            self._of_gains[layer].copy_(of_gain.view(s, -1))
            self._of_offsets[layer].copy_(of_offset.view(s, -1))
            gradient = gradient.view(b, s, -1).transpose(0, 1)
            if layer == 0 and self.first is not None:
                self.first(gradient[0], source[0])
            else:
                _product(gradient.transpose(1, 2), source, self._of_weights[layer])

    def logits(self, x: Tensor) -> Tensor:
        """The logits (s, m, c) of rows x (m, f) that all runs see, without dropout and with running statistics."""
        s, m = len(self), len(x)
        out = x.expand(s, -1, -1)
        for layer in range(self.layers):
            z = torch.bmm(out, self._weight(layer, x.dtype).transpose(1, 2)).transpose(0, 1).reshape(m, -1)
            gain, offset = self._gains[layer].reshape(-1), self._offsets[layer].reshape(-1)
            mean, variance = self._norms[layer]
            normed = F.batch_norm(z, mean, variance, gain, offset, False, _MOMENTUM, _EPS)
            out = normed.clamp_min_(0).view(m, s, -1).transpose(0, 1)
        return torch.baddbmm(self.bias.to(x.dtype).unsqueeze(1), out, self._weight(self.layers, x.dtype).transpose(1, 2))


def _shapes(sizes: tuple[int, int, int], layers: int) -> list[tuple[int, ...]]:
    """Weights of all layers, gain and offset of each hidden one, bias of the last."""
    f, h, c = sizes
    return [(h, f), *[(h, h)] * (layers - 1), (c, h), *[(h,)] * (2 * layers), (c,)]


def run_nbytes(sizes: tuple[int, int, int], layers: int) -> int:
    """Bytes that a run takes on a CPU: weights, the best of them, two moments, and a gradient or a shadow in bfloat16."""
    return 5 * 4 * sum(prod(shape) for shape in _shapes(sizes, layers))


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """a @ b into `out`, which may be of a wider type."""
    if a.dtype == out.dtype:
        torch.bmm(a, b, out=out)
    elif len(a) == 1 and a.device.type == "cpu":  # where a batch of one is filled with zeros first
        out[0].copy_(torch.mm(a[0], b[0]))
    else:
        out.copy_(torch.bmm(a, b))


def _levels(rate: float) -> tuple[int, int]:
    """Of how many bits a random integer is, and of how many of its values a unit is dropped."""
    bits = 8 if rate * 256 % 1 == 0 else 16
    return bits, min((1 << bits) - 1, round(rate * (1 << bits)))


def effective_rate(rate: float) -> float:
    """The rate as the random integers tell it apart: exact in 256ths, else the nearest 65,536th."""
    bits, dropped = _levels(rate)
    return dropped / (1 << bits)


class Masks:
    """Dropout masks of several steps: integers drawn in one call a run, and the masks that they stand for.

    The masks of a run depend on its generator and the sizes only, not on the runs beside it.

    Args:
        sizes: of the batches of an epoch.

    Cost: one random byte a unit, two where the rate is no 256th; one launch a run and `steps` steps.
    """

    def __init__(
        self,
        generators: Sequence[Generator],
        rate: float,
        layers: int,
        hidden: int,
        sizes: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        bits, self._dropped = _levels(rate)
        self.steps = min(_MASK_STEPS, len(sizes))
        self._generators, self._layers, self._dtype = generators, layers, dtype
        # The integer from which on a unit is kept. Clamping to it and the one below leaves two values: a comparison
        # would give booleans, which are slow to turn into numbers.
        self._first = self._dropped - (1 << (bits - 1))
        self._scale = 1 / (1 - effective_rate(rate))
        shape = (self.steps, layers, max(sizes), hidden)
        count = prod(shape) if self._dropped else 0
        self._draws = torch.empty(len(generators), -(-count * bits // 64), dtype=torch.int64, device=generators[0].device)
        if self._dropped:
            self._integers = self._draws.view(torch.int8 if bits == 8 else torch.int16)[:, :count].unflatten(1, shape)

    def draw(self) -> None:
        """The integers of the next `steps` steps, in the place of the last ones."""
        if self._dropped:
            for generator, draw in zip(self._generators, self._draws, strict=True):
                draw.random_(-(2**63), None, generator=generator)

    def of(self, place: int, b: int) -> list[Tensor] | None:
        """The masks (b, s * h) of all layers of one of the drawn steps, 0 or 1 / (1 - rate); None where nothing is dropped."""
        if not self._dropped:
            return None
        first, scale, dtype = self._first, self._scale, self._dtype
        current = self._integers[:, place, :, :b].permute(1, 2, 0, 3)
        keep = current.clamp(first - 1, first).to(dtype).sub_(first - 1).mul_(scale)
        return list(keep.reshape(self._layers, b, -1).unbind())
