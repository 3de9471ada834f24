"""Autoencoders of the flat rows: a variational and a denoising one.

Both see standardised rows (train statistics) rotated by their principal components. Up to 1,025 train rows the rotation
loses nothing that a network could learn, since gradients of a first linear layer lie in the span of the rows; beyond, it
keeps the 1,024 leading directions. So an epoch costs the same for adapters of 720 or of 100,000 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lora_perf.representations.learned.fitting import learned
from lora_perf.representations.learned.networks import seeded, train
from lora_perf.representations.learned.pca import Rotation, View
from lora_perf.representations.learned.task import Task

_INPUTS = 1_024
_HIDDEN = 256
LATENT = 64
_MASKED = 0.25
_NOISE = 0.1  # of a standardised entry
_VIEWS = 4  # corrupted copies of the train rows, which the epochs take at random: masks of entries cannot be rotated


class Autoencoder(nn.Module):
    """Two perceptrons with one hidden layer each; inputs (b, i) are divided by `size`, outputs multiplied by it."""

    def __init__(self, inputs: int, codes: int, latent: int, size: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, codes))
        self.decoder = nn.Sequential(nn.Linear(latent, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, inputs))
        self.size = size

    def encode(self, x: Tensor) -> Tensor:
        codes: Tensor = self.encoder(x / self.size)
        return codes

    def decode(self, z: Tensor) -> Tensor:
        rows: Tensor = self.decoder(z) * self.size
        return rows


@learned("vae")
def vae(task: Task) -> Tensor:
    """Means of a variational autoencoder's posterior: the evidence bound with unit variance of a standardised entry.

    Shapes: (n, d), d = 64 by default.
    Cost: that of `pca` with at most 1,024 components, and at most 100 epochs of two small perceptrons.
    Source: Kingma, Welling (2014).
    """
    x = Rotation.fit(task, None, most=_INPUTS, standardise=True).scores(None).float()
    latent = task.dimensions or LATENT
    rows = x[task.train.to(task.device)]
    net = seeded(lambda: Autoencoder(x.shape[1], 2 * latent, latent, _size(rows)), task)

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        batch = rows[places.to(task.device)]
        mean, spread = net.encode(batch).chunk(2, dim=1)  # the spread is the logarithm of the variance
        drawn = torch.randn(mean.shape, generator=generator).to(task.device)
        decoded = net.decode(mean + (spread / 2).exp() * drawn)
        divergence = (mean.square() + spread.exp() - 1 - spread).sum(dim=1)
        return ((batch - decoded).square().sum(dim=1) + divergence).mean() / 2

    train(net, loss, task)
    with torch.no_grad():
        return net.encode(x)[:, :latent]


@learned("denoising")
def denoising(task: Task) -> Tensor:
    """Codes of an autoencoder that restores rows of which a quarter of the entries is masked and the rest is noisy.

    Shapes: (n, d), d = 64 by default.
    Cost: that of `vae`, and the rotation of four corrupted copies of the train rows.
    Source: Vincent, Larochelle, Bengio, Manzagol (2008).
    """
    rotation = Rotation.fit(task, None, most=_INPUTS, standardise=True)
    x = rotation.scores(None).float()
    latent = task.dimensions or LATENT
    rows = x[task.train.to(task.device)]
    corrupted = torch.stack([view.float() for view in rotation.views(task.train, [_corruption(task)] * _VIEWS)])
    net = seeded(lambda: Autoencoder(x.shape[1], latent, latent, _size(rows)), task)

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        which = torch.randint(_VIEWS, places.shape, generator=generator)
        decoded = net.decode(net.encode(corrupted[which.to(task.device), places.to(task.device)]))
        return (rows[places.to(task.device)] - decoded).square().sum(dim=1).mean()

    train(net, loss, task)
    with torch.no_grad():
        return net.encode(x)


def _size(rows: Tensor) -> float:
    """The root mean square of the entries."""
    return float(rows.square().mean().sqrt())


def _corruption(task: Task) -> View:
    generator = torch.Generator().manual_seed(task.seed)

    def corrupt(x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=generator) >= _MASKED
        noise = _NOISE * torch.randn(x.shape, generator=generator)
        return (x + noise.to(x.device)) * kept.to(x.device)

    return corrupt
