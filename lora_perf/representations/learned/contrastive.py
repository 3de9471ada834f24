"""Contrastive learning: two gauges of one update are to look alike, and unlike those of other adapters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from lora_perf.core.layout import Module
from lora_perf.representations.learned.fitting import learned
from lora_perf.representations.learned.networks import seeded, train
from lora_perf.representations.learned.task import Task

EMBEDDED = 256
PRODUCTS = 64  # of linear maps, a module: a linear probe on `digits` reached 0.87 with 16 of them and 0.92 with 64
_PROJECTED = 64  # where the views are compared; what the comparison discards stays in the embedding before it
_TEMPERATURE = 0.2
_STRETCH = 0.5  # standard deviation of the logarithms of a gauge's singular values
_NOISE = 0.1  # of the root mean square entry of a factor
_DROPPED = 0.3  # of the modules of a view
_ROWS = 1_024  # embedded at a time


class Encoder(nn.Module):
    """Products of two linear maps of each module's factors, then a linear map to the embedding, and a projection of it.

    Entries of dW are sums of such products, so that the encoder can come to see dW alone, but has to learn it: factors
    enter as they are.
    """

    def __init__(self, modules: tuple[Module, ...], sizes: Tensor, embedded: int) -> None:
        super().__init__()
        widths = [module.up.size + module.down.size for module in modules]
        shape = (2, PRODUCTS)
        self.maps = nn.ParameterList([torch.randn((*shape, width)) / width**0.5 for width in widths])
        self.norm = nn.BatchNorm1d(PRODUCTS * len(modules), affine=False)
        self.embedding = nn.Linear(PRODUCTS * len(modules), embedded)
        self.projection = nn.Sequential(nn.ReLU(), nn.Linear(embedded, _PROJECTED))
        self.sizes = sizes.tolist()

    def forward(self, factors: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Embeddings (b, d) of modules' factors (up (b, m, r), down (b, r, k))."""
        products = []
        for (up, down), maps, (up_size, down_size) in zip(factors, self.maps, self.sizes, strict=True):
            both = torch.cat([up.flatten(1) / up_size, down.flatten(1) / down_size], dim=1)
            products.append((both @ maps[0].T) * (both @ maps[1].T))
        embedded: Tensor = self.embedding(self.norm(torch.cat(products, dim=1)))
        return embedded


@learned("contrastive", of_updates=True)
def contrastive(task: Task) -> Tensor:
    """Embeddings by an encoder that was taught, on train rows, to tell adapters apart whatever their gauge.

    The two views of an adapter are its factors (s B G, G^-1 A) with a random invertible G for each module (at rank 1 a sign
    and a scale), some noise, and some modules dropped; the loss is NT-Xent.

    Shapes: (n, d), d = 256 by default.
    Cost: at most 100 epochs; an epoch reads each train row once from the zoo and takes about 12 n_train p 64 flops. Nothing
        of the size of the rows is kept, but the encoder has 128 p weights: 50 MB for the layout of Stable Diffusion 1.5.
    Source: Chen, Kornblith, Norouzi, Hinton (2020) for the loss.
    """
    modules = tuple(module for _, module in task.modules)
    net = seeded(lambda: Encoder(modules, sizes_of(task), task.dimensions or EMBEDDED), task)

    def loss(places: Tensor, generator: torch.Generator) -> Tensor:
        factors = factors_of(task, task.train[places])
        views = [[_view(*pair, generator) for pair in factors] for _ in range(2)]
        both = [(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*views, strict=True)]
        return _nt_xent(net.projection(net(both)))

    train(net, loss, task)
    with torch.no_grad():
        return torch.cat([net(factors_of(task, rows)) for rows in torch.arange(len(task.zoo)).split(_ROWS)])


def factors_of(task: Task, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(s B (b, m, r), A (b, r, k)) of each module, float32."""
    found = []
    for place, module in task.modules:
        up = task.entries(rows, module.up.columns, torch.float32).unflatten(1, module.up.shape)
        down = task.entries(rows, module.down.columns, torch.float32).unflatten(1, module.down.shape)
        found.append((up * task.scales(rows, place).float()[:, None, None], down))
    return found


def sizes_of(task: Task) -> Tensor:
    """Root mean squares (modules, 2) of the train entries of s B and of A; 1 for zeros."""
    squares = torch.zeros((len(task.modules), 2), dtype=torch.float64, device=task.device)
    for rows in task.train.split(_ROWS):
        for i, pair in enumerate(factors_of(task, rows)):
            squares[i] += torch.stack([one.double().square().mean() * len(rows) / len(task.train) for one in pair])
    return torch.where(squares > 0, squares.sqrt(), 1.0).float()


def _view(up: Tensor, down: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same updates in random gauges, noisy, some of them dropped."""
    b, _, r = up.shape
    gauge, inverse = (one.to(up.device) for one in random_gauges(b, r, generator))
    kept = (torch.rand((b, 1, 1), generator=generator) >= _DROPPED).to(up.device)
    return _noisy(up @ gauge * kept, generator), _noisy(inverse @ down, generator)


def random_gauges(b: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """b invertible matrices G (b, r, r) and their inverses: a rotation, log-normal stretches, another rotation."""
    first, second = (_orthogonal(torch.randn((b, r, r), generator=generator)) for _ in range(2))
    stretch = (_STRETCH * torch.randn((b, 1, r), generator=generator)).exp()
    return first * stretch @ second.mT, second / stretch @ first.mT


def _orthogonal(x: Tensor) -> Tensor:
    """Uniformly distributed orthogonal matrices, made of normal ones (Mezzadri 2007); a random sign at rank 1."""
    q, upper = torch.linalg.qr(x)
    signs = torch.where(upper.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)
    uniform: Tensor = q * signs[:, None, :]
    return uniform


def _noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    size = x.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return x + _NOISE * size * torch.randn(x.shape, generator=generator).to(x.device)


def _nt_xent(z: Tensor) -> Tensor:
    """Cross entropy of finding the other view (rows i and i + b) by cosine among all others."""
    z = normalize(z, dim=1)
    b = len(z) // 2
    cosines = (z @ z.T / _TEMPERATURE).fill_diagonal_(-torch.inf)
    return cross_entropy(cosines, torch.arange(2 * b, device=z.device).roll(b))
