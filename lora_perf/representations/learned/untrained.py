"""What a learned representation has to beat: its own network before it is trained, and as many random numbers of the rows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError
from lora_perf.representations.learned.autoencoders import LATENT, denoising, vae
from lora_perf.representations.learned.components import COMPONENTS
from lora_perf.representations.learned.contrastive import EMBEDDED, PRODUCTS, contrastive, factors_of, sizes_of
from lora_perf.representations.learned.fitting import Fitted
from lora_perf.representations.learned.pca import CONSTANT
from lora_perf.representations.learned.task import Task
from lora_perf.representations.registry import CONTROLS, NUMBERED, REPRESENTATIONS

_WIDEST = 65_536


def random_projection(task: Task, width: int) -> Tensor:
    """Projections of standardised rows on `width` Gaussian vectors, which follow from the seed.

    Shapes: (n, width).
    Cost: 2 n p width flops; each weight is read twice.
    """
    generator = torch.Generator().manual_seed(task.seed)
    out = torch.zeros((len(task.zoo), width), dtype=torch.float64, device=task.device)
    for columns in task.chunks():
        x = task.entries(task.landmarks, columns)
        mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
        vectors = torch.randn((x.shape[1], width), generator=generator, dtype=torch.float64).to(task.device)
        varies = deviation > CONSTANT * x.abs().amax(dim=0)
        vectors *= torch.where(varies, 1 / deviation, 0.0)[:, None] / task.p**0.5
        for rows in task.tiles(None, x.shape[1]):
            out[rows.to(task.device)] += (task.entries(rows, columns) - mean) @ vectors
    return out


def random_products(task: Task, width: int) -> Tensor:
    """Products of two random linear maps of a module's factors, dealt among the modules: what `contrastive` is made of.

    Shapes: (n, width); column j is of module j modulo their number.
    Cost: 4 n (m + k) r flops a column; each weight is read twice.
    """
    generator = torch.Generator().manual_seed(task.seed)
    sizes, count = sizes_of(task).tolist(), len(task.modules)
    of_module = [len(range(place, width, count)) for place in range(count)]
    maps = [
        torch.randn((2, many, module.up.size + module.down.size), generator=generator).to(task.device)
        for many, (_, module) in zip(of_module, task.modules, strict=True)
    ]
    out = torch.empty((len(task.zoo), width), device=task.device)
    for rows in task.tiles(None, task.p):
        for place, (up, down) in enumerate(factors_of(task, rows)):
            of_up, of_down = sizes[place]
            both = torch.cat([up.flatten(1) / of_up, down.flatten(1) / of_down], dim=1)
            first, second = (both @ one.T / both.shape[1] ** 0.5 for one in maps[place])
            out[rows.to(task.device), place::count] = first * second
    return out


def _projections(width: int) -> Fitted:
    _refuse(width)
    return Fitted(f"random_projection_{width}", lambda task: random_projection(task, width), family=NUMBERED)


def _products(width: int) -> Fitted:
    _refuse(width)
    return Fitted(f"random_products_{width}", lambda task: random_products(task, width), of_updates=True, family=NUMBERED)


def _refuse(width: int) -> None:
    if not 1 <= width <= _WIDEST:
        raise LoraPerfError(expected=f"1 to {_WIDEST:,} random features", found=f"{width:,}", fix="name another number of them")


REPRESENTATIONS.numbered["random_projection"] = _projections
REPRESENTATIONS.numbered["random_products"] = _products
_BESIDE = {
    "pca": (f"random_projection_{COMPONENTS}",),
    "vae": ("vae_untrained", f"random_projection_{LATENT}"),
    "denoising": ("denoising_untrained", f"random_projection_{LATENT}"),
    "contrastive": ("contrastive_untrained", "random_products", f"random_products_{EMBEDDED}"),
    "dw_kernel": (f"random_products_{EMBEDDED}",),
}
OF_LEARNED = (
    *(replace(one, name=f"{one.name}_untrained", family=CONTROLS, trained=False) for one in (vae, denoising, contrastive)),
    # As many as an encoder of `contrastive` is made of, where those with a number have its width.
    Fitted(
        "random_products",
        lambda task: random_products(task, PRODUCTS * len(task.modules)),
        of_updates=True,
        family=CONTROLS,
    ),
)


def beside(name: str) -> tuple[str, ...]:
    """The controls of a learned representation; none of another one.

    >>> beside("vae"), beside("stats")
    (('vae_untrained', 'random_projection_64'), ())
    """
    return _BESIDE.get(name, ())
