"""A transformer whose tokens are modules, for all seeds at once: every weight has the seeds as its first axis.

Axes: s seeds, b rows of a batch, t tokens, w columns of a token (filled with zeros), d units, c classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Setup
from lora_perf.classifiers.stacked import Inputs, OfSeeds, Weights, learnt
from lora_perf.classifiers.standardise import Standardiser

_UNITS, _HEADS, _BLOCKS = 64, 4, 2


def forward(weights: Weights, x: Tensor, keep: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Logits (s, b, c) of tokens x (s, b, t, w); `keep` are masks of the embedding (s, b, t, d) and of the mean (s, b, d)."""
    h = torch.einsum("sbtw,stwd->sbtd", x, weights["embed"]) + weights["place"][:, None]
    h = h if keep is None else h * keep[0]
    for block in range(_BLOCKS):
        normed = _normed(h, weights[f"{block}.gain1"], weights[f"{block}.offset1"])
        q, k, v = (
            torch.einsum("sbtd,sde->sbte", normed, weights[f"{block}.{name}"]).unflatten(3, (_HEADS, -1)).transpose(2, 3)
            for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(3)
        h = h + torch.einsum("sbtd,sde->sbte", mixed, weights[f"{block}.out"])
        normed = _normed(h, weights[f"{block}.gain2"], weights[f"{block}.offset2"])
        inner = F.gelu(torch.einsum("sbtd,sde->sbte", normed, weights[f"{block}.wide"]))
        h = h + torch.einsum("sbte,sed->sbtd", inner, weights[f"{block}.narrow"])
    mean = _normed(h, weights["gain"], weights["offset"]).mean(dim=2)
    mean = mean if keep is None else mean * keep[1]
    return torch.einsum("sbd,sdc->sbc", mean, weights["head"]) + weights["bias"][:, None]


def _normed(h: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:]) * gain[:, None, None] + offset[:, None, None]


def drawn(generator: Generator, tokens: int, width: int, classes: int) -> Weights:
    """The weights of one seed, matrices uniform within one over the root of their inputs."""
    d = _UNITS
    shapes: dict[str, tuple[int, ...]] = {"embed": (tokens, width, d), "place": (tokens, d)}
    for block in range(_BLOCKS):
        shapes |= {f"{block}.{name}": (d, d) for name in ("q", "k", "v", "out")}
        shapes |= {f"{block}.wide": (d, 2 * d), f"{block}.narrow": (2 * d, d)}
        shapes |= {f"{block}.{name}": (d,) for name in ("gain1", "offset1", "gain2", "offset2")}
    shapes |= {"gain": (d,), "offset": (d,), "head": (d, classes), "bias": (classes,)}
    made = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            made[name] = torch.full(shape, 1.0 if "gain" in name else 0.0)
        else:
            bound = shape[-2 if name != "place" else -1] ** -0.5
            made[name] = torch.rand(shape, generator=generator).mul_(2 * bound).sub_(bound)
    return made


def layers_of(examples: Examples, standardiser: Standardiser) -> Tensor:
    """(f_kept,) the layers that the kept columns came from; where they are not known, one."""
    if examples.layers is None:
        return torch.zeros(len(standardiser.kept), dtype=torch.int64)
    return examples.layers[standardiser.kept.cpu()]


def standardised(values: Tensor, standardiser: Standardiser) -> Tensor:
    """(n, f_kept) float32 on the CPU, of values (n, f)."""
    kept, mean, scale = standardiser.kept.cpu(), standardiser.mean.float().cpu(), standardiser.scale.float().cpu()
    return (values.cpu().float().index_select(1, kept) - mean) / scale


def tokens_of(values: Tensor, layers: Tensor) -> Tensor:
    """(n, t, w) of standardised columns (n, f): those of each layer or module are a token, filled with zeros."""
    of_tokens = [values[:, layers == layer] for layer in layers.unique()]
    width = max(one.shape[1] for one in of_tokens)
    return torch.stack([F.pad(one, (0, width - one.shape[1])) for one in of_tokens], dim=1)


@dataclass(frozen=True)
class _Transformer:
    """What `learnt` trains: see `forward`."""

    tokens: int
    width: int
    classes: int

    def drawn(self, generator: Generator) -> Weights:
        return drawn(generator, self.tokens, self.width, self.classes)

    def masks(self, rows: int) -> tuple[tuple[int, ...], ...]:
        return (rows, self.tokens, _UNITS), (rows, _UNITS)

    def forward(self, weights: Weights, inputs: Inputs, keep: Inputs | None) -> Tensor:
        return forward(weights, inputs[0], None if keep is None else (keep[0], keep[1]))


class TokenTransformer(OfSeeds):
    """Transformers over the modules of an adapter, one token each, those of all seeds trained as one program.

    The columns of a module, standardised, are embedded by a linear map of that module; two pre-norm blocks of four heads and 64
    units, the mean over tokens, a linear map. Adam with the recipe's rate, decay, batches and patience, without its plateaus;
    dropout on embeddings and on the mean. A run is a function of its seed: its weights, orders and masks are its own. Of
    `dw_canonical` two seeds of at most 50 epochs read .910 of `digits`.

    Source: W2T (2026, arXiv 2603.15990), whose tokens are the canonical components of an update; here those of one module are
        one token, so that it reads `dw_canonical`, and any representation that knows its layers.
    Cost: an epoch of s seeds s times that of one; weights of d w t entries for the embedding.
    """

    name = "w2t"
    about = "a transformer whose tokens are modules, for dw_canonical"

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """One run a seed; see `Classifier.fit`. Without the layers of the columns all of them are one token."""
        standardiser = Standardiser.fit(examples.values, examples.split.train)
        layers, device = layers_of(examples, standardiser), torch.device(setup.device)

        def inputs_of(values: Tensor) -> Inputs:
            return (tokens_of(standardised(values, standardiser), layers).to(device),)

        places = layers.unique(return_counts=True)[1]
        network = _Transformer(len(places), int(places.max()), n_classes)
        return learnt(network, inputs_of, examples, labels, setup, standardiser)


CLASSIFIERS.add(TokenTransformer.name, TokenTransformer())
