"""GL-net, which reads updates by their factors and sees no basis of these, for all seeds at once.

Axes: s seeds, b rows of a batch, n rows, t modules of one shape, m and k sides of an update, r rank, p directions, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Setup
from lora_perf.classifiers.stacked import Inputs, OfSeeds, Weights, learnt
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.classifiers.transformer import layers_of, standardised, tokens_of
from lora_perf.core.factors import Factors

_DIRECTIONS = 16  # on each side of an update; with 8 a trial of two seeds read .95 and .94 of `digits`, with 16 .97 and .97
_UNITS = 128
Shape = tuple[int, int, int]  # t, m, k of modules of one shape


def forward(weights: Weights, factors: Sequence[Tensor], kept: Tensor | None = None) -> Tensor:
    """Logits (s, b, c) of U^T (s, b, t, r, m), V^T (s, b, t, r, k) of each shape in turn; `kept` (s, b, units) is a mask.

    Of each module the entries of (P U) (Q V)^T, for learnt P (p, m) and Q (p, k); then a perceptron of one hidden layer.
    """
    invariants = []
    for i in range(len(factors) // 2):
        left = torch.einsum("sbtrm,stmp->stbpr", factors[2 * i], weights[f"{i}.up"])
        right = torch.einsum("sbtrk,stkp->stbrp", factors[2 * i + 1], weights[f"{i}.down"])
        invariants.append((left @ right).transpose(1, 2).flatten(2))
    hidden = F.gelu(torch.baddbmm(weights["offset"][:, None], torch.cat(invariants, dim=2), weights["wide"]))
    hidden = hidden if kept is None else hidden * kept
    return torch.baddbmm(weights["bias"][:, None], hidden, weights["head"])


def drawn(generator: Generator, shapes: Sequence[Shape], classes: int) -> Weights:
    """The weights of one seed, matrices uniform with the variance of one over their inputs (of the head a third of it)."""
    invariants = _DIRECTIONS**2 * sum(t for t, _, _ in shapes)
    sizes: dict[str, tuple[int, ...]] = {}
    for i, (t, m, k) in enumerate(shapes):
        sizes |= {f"{i}.up": (t, m, _DIRECTIONS), f"{i}.down": (t, k, _DIRECTIONS)}
    sizes |= {"wide": (invariants, _UNITS), "head": (_UNITS, classes)}
    made = {}
    for name, size in sizes.items():
        bound = ((1 if len(size) == 2 else 3) / size[-2]) ** 0.5
        made[name] = torch.rand(size, generator=generator).mul_(2 * bound).sub_(bound)
    return made | {"offset": torch.zeros(_UNITS), "bias": torch.zeros(classes)}


@dataclass(frozen=True)
class _Net:
    """What `learnt` trains: see `forward`."""

    shapes: tuple[Shape, ...]
    classes: int

    def drawn(self, generator: Generator) -> Weights:
        return drawn(generator, self.shapes, self.classes)

    def masks(self, rows: int) -> tuple[tuple[int, ...], ...]:
        return ((rows, _UNITS),)

    def forward(self, weights: Weights, inputs: Inputs, keep: Inputs | None) -> Tensor:
        return forward(weights, inputs, None if keep is None else keep[0])


class Scaled:
    """Factors of modules, those of one shape together, each module in a unit in which the updates of train rows are near 1.

    The unit is the root of the mean square of all entries of dW = U V^T over the train rows, which no basis changes; each
    factor is divided by its root. A module that is 0 in all train rows stays as it is.

    Args:
        train: features (n_train, f) of the train rows, of which the factors are columns.
    """

    def __init__(self, train: Tensor, factors: Sequence[Factors]) -> None:
        alike: dict[Shape, list[Factors]] = {}
        for one in factors:
            alike.setdefault((one.m, one.k, one.rank), []).append(one)
        self._alike = list(alike.values())
        self.shapes = tuple((len(some), some[0].m, some[0].k) for some in self._alike)
        self._units = {one: _unit(*one.of(train)) ** -0.5 for one in factors}

    def __call__(self, values: Tensor) -> Inputs:
        """U^T (n, t, r, m), V^T (n, t, r, k) of each shape in turn."""
        found = []
        for some in self._alike:
            pairs = [one.of(values) for one in some]
            for side in (0, 1):
                parts = [pair[side] * self._units[one] for one, pair in zip(some, pairs, strict=True)]
                found.append(torch.stack(parts, dim=1))
        return tuple(found)


def _unit(up: Tensor, down: Tensor) -> float:
    """The root of the mean square of the entries of U V^T, of U^T (n, r, m) and V^T (n, r, k); 1 where that is 0."""
    up, down = up.double(), down.double()
    mean = float(((up @ up.mT) * (down @ down.mT)).sum(dim=(1, 2)).mean()) / (up.shape[2] * down.shape[2])
    return mean**0.5 if mean > 0 else 1.0


class InvariantNet(OfSeeds):
    """Networks on the factors of updates dW = U V^T, which no change of basis, (U G, V G^-T), moves; all seeds are one program.

    It reads `dw_canonical`, or as `flat_vec` the entries of B and A (without the scale s). Of each module a linear map of U and
    one of V to 16 directions, none of which acts on the rank, so that they are equivariant; then the 256 entries of their
    product, P dW Q^T, which are invariant; those of all modules into a perceptron with a hidden layer of 128 units and dropout.
    The update is never formed, and columns are not standardised, since a mean of factors is no factor: of each module
    there is one unit. As training too sees P dW Q^T alone, what is learnt is the same in any basis but for rounding.
    Adapters of several ranks can be compared, as those of lower rank have components that are 0. Of `dw_canonical` ten seeds
    read .959 of `digits` in the mean (.935 to .980), two seeds .658 of `digits-mixed`.

    Features that hold no factors are read as updates of one column, a layer each, of standardised features: that is a
    perceptron with a bottleneck, and the cell says so.

    Source: GL-net of Putterman, Lim, Gelberg, Jegelka, Maron (2024, arXiv 2410.04207): equivariant linear maps and an invariant
        head. Its nonlinearity between linear maps, rows of U and V that are kept by the sign of a sum of U V^T, is left out:
        in a trial of two seeds the net with it read .88 and .95 of `digits`, without it .97 and .97.
    Cost: of each row (m + k) r p + r p^2 multiplications a module and 256 x 128 in the perceptron, thrice in training; of each
        seed 16 (m + k) + 32,768 weights a module, four times with their gradients and moments.
    """

    name = "glnet"
    about = "a network on factors in any basis, for dw_canonical and flat_vec"

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """One run a seed; see `Classifier.fit`."""
        train, device = examples.split.train, torch.device(setup.device)
        standardiser = Standardiser.fit(examples.values, train)
        if examples.factors:
            scaled = Scaled(examples.values.index_select(0, train.to(examples.values.device)), examples.factors)
            shapes, note = scaled.shapes, ""

            def inputs_of(values: Tensor) -> Inputs:
                return tuple(one.float().to(device) for one in scaled(values))

        else:
            layers = layers_of(examples, standardiser)
            places = layers.unique(return_counts=True)[1]
            shapes, note = ((len(places), int(places.max()), 1),), "no factors: standardised columns"

            def inputs_of(values: Tensor) -> Inputs:
                up = tokens_of(standardised(values, standardiser), layers)[:, :, None].to(device)
                return up, torch.ones_like(up[..., :1])

        return learnt(_Net(shapes, n_classes), inputs_of, examples, labels, setup, standardiser, note)


CLASSIFIERS.add(InvariantNet.name, InvariantNet())
