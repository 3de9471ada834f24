"""A transformer whose tokens are modules, for all seeds at once: every weight has the seeds as its first axis.

Axes: s seeds, b rows of a batch, t tokens, w columns of a token (filled with zeros), d units, c classes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.epochs import batches
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.ambient import with_threads

_UNITS, _HEADS, _BLOCKS = 64, 4, 2
_ROWS = 512  # evaluated at a time
Weights = dict[str, Tensor]


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


def tokens_of(values: Tensor, layers: Tensor) -> Tensor:
    """(n, t, w) of standardised columns (n, f): those of each layer or module are a token, filled with zeros."""
    of_tokens = [values[:, layers == layer] for layer in layers.unique()]
    width = max(one.shape[1] for one in of_tokens)
    return torch.stack([F.pad(one, (0, width - one.shape[1])) for one in of_tokens], dim=1)


@dataclass
class _Best:
    """The epoch of a seed that was best on the validation rows."""

    accuracy: float = -1.0
    epoch: int = 0


class TokenTransformer:
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
    seeded = True
    by_epochs = True
    targets: tuple[str, ...] = ("classes",)
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It takes any number of rows and features."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """One run a seed; see `Classifier.fit`. Without the layers of the columns all of them are one token."""
        begin, split, device = time.perf_counter(), examples.split, torch.device(setup.device)
        standardiser = Standardiser.fit(examples.values, split.train)
        kept = standardiser.kept.cpu()
        layers = torch.zeros(len(kept), dtype=torch.int64) if examples.layers is None else examples.layers[kept]
        mean, scale = (one.float().cpu() for one in (standardiser.mean, standardiser.scale))

        def tokens(values: Tensor) -> Tensor:
            return tokens_of((values.cpu().float().index_select(1, kept) - mean) / scale, layers).to(device)

        x = tokens(torch.as_tensor(examples.values.index_select(0, torch.arange(len(examples.values)))))
        trained = _Stack(x, labels.to(device), split.train.to(device), split.validation.to(device), n_classes, setup)
        # Products of a batch are small: on a busy machine of two cores one thread took a twentieth of the time of two.
        with with_threads(1 if device.type == "cpu" else None):
            trained.train()
            predictions = trained.predicted(x[split.test.to(device)])
        seconds = (time.perf_counter() - begin) / len(setup.seeds)
        runs = [
            Run(seed, best.accuracy, best.epoch, len(curves["lr"]), seconds, curves)
            for seed, best, curves in zip(setup.seeds, trained.best, trained.curves, strict=True)
        ]
        answers = (lambda values: trained.predicted(tokens(values))) if setup.keep else None
        return Fitted(predictions, tuple(runs), examples.values.shape[1], standardiser.dropped, answers)


class _Stack:
    """The transformers of some seeds while they train, and the weights of their best epochs after that."""

    def __init__(self, x: Tensor, labels: Tensor, train: Tensor, validation: Tensor, classes: int, setup: Setup) -> None:
        self._x, self._labels, self._train, self._validation, self._setup = x, labels, train, validation, setup
        self._orders = [Generator().manual_seed(seed) for seed in setup.seeds]
        of_seeds = [drawn(one, x.shape[1], x.shape[2], classes) for one in self._orders]
        self.weights = {name: torch.stack([one[name] for one in of_seeds]).to(x.device) for name in of_seeds[0]}
        self._kept = {name: one.clone() for name, one in self.weights.items()}
        self.best = [_Best() for _ in setup.seeds]
        self.curves: list[dict[str, list[float]]] = [
            {"train_loss": [], "validation_accuracy": [], "lr": []} for _ in setup.seeds
        ]

    def train(self) -> None:
        recipe, seeds = self._setup.recipe, self._setup.seeds
        for one in self.weights.values():
            one.requires_grad_()
        optimiser = torch.optim.Adam([*self.weights.values()], recipe.lr, weight_decay=recipe.weight_decay)
        ended = [False] * len(seeds)
        for epoch in range(1, recipe.epochs + 1):
            losses = self._epoch(optimiser, recipe)
            with torch.no_grad():
                right = self._argmax(self.weights, self._x[self._validation]) == self._labels[self._validation]
            for k, accuracy in enumerate(right.double().mean(dim=1).tolist()):
                if ended[k]:
                    continue
                for name, value in (("train_loss", losses[k]), ("validation_accuracy", accuracy), ("lr", recipe.lr)):
                    self.curves[k][name].append(value)
                if self._setup.progress is not None:
                    self._setup.progress(seeds[k], epoch, accuracy)
                if accuracy > self.best[k].accuracy:
                    self.best[k] = _Best(accuracy, epoch)
                    for name, one in self._kept.items():
                        one[k] = self.weights[name][k].detach()
                ended[k] = epoch - self.best[k].epoch >= recipe.patience
            if all(ended):
                break

    def _epoch(self, optimiser: torch.optim.Optimizer, recipe: TrainingConfig) -> list[float]:
        """One epoch of all seeds, each in its own order with its own masks; the mean losses of the rows."""
        n, device = len(self._train), self._x.device
        rows = torch.stack([torch.randperm(n, generator=one) for one in self._orders]).to(device)
        total = torch.zeros(len(rows), device=device)
        for start, stop in batches(n, recipe.batch_size):
            chosen = self._train[rows[:, start:stop]]
            logits = forward(self.weights, self._x[chosen], self._masks(chosen.shape[1], recipe.dropout))
            losses = F.cross_entropy(logits.transpose(1, 2), self._labels[chosen], reduction="none").mean(dim=1)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            total += losses.detach() * (stop - start)
        found: list[float] = (total / n).tolist()
        return found

    def _masks(self, b: int, rate: float) -> tuple[Tensor, Tensor] | None:
        if rate == 0:
            return None
        shapes = (b, self._x.shape[1], _UNITS), (b, _UNITS)
        first, second = (
            torch.stack([(torch.rand(shape, generator=one) >= rate) / (1 - rate) for one in self._orders]).to(self._x.device)
            for shape in shapes
        )
        return first, second

    def _argmax(self, weights: Weights, x: Tensor) -> Tensor:
        """(s, m) the classes of tokens (m, t, w)."""
        parts = [forward(weights, one.expand(len(self.best), -1, -1, -1)).argmax(dim=2) for one in x.split(_ROWS)]
        return torch.cat(parts, dim=1)

    def predicted(self, x: Tensor) -> Tensor:
        """(s, m) by the best epochs."""
        with torch.no_grad():
            return self._argmax(self._kept, x).cpu()


CLASSIFIERS.add(TokenTransformer.name, TokenTransformer())
