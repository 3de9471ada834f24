"""Kernel PCA of the updates dW = s B A themselves, which are never formed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lora_perf.core.layout import Module
from lora_perf.representations.learned.components import leading
from lora_perf.representations.learned.fitting import learned
from lora_perf.representations.learned.task import Task

# Stacked factor rows (adapters x r) in one matrix product: two tables of 32 MB, which two cores fill at full speed.
_TILE = 2_048


@learned("dw_kernel", of_updates=True, any_rank=True)
def dw_kernel(task: Task) -> Tensor:
    """Scores of the updates of all adapters on the principal components of the train updates.

    The kernel is <dW_i, dW_j> = sum over modules of s_i s_j sum((B_i^T B_j) * (A_i A_j^T)), centred by train rows, so these
    are the scores of a PCA of the flattened updates: gauge invariant, of any rank, also of mixed ones. Cosines, and kernels
    scaled module by module, were no better on `digits` (0.975 and 0.975 to 0.980 against 0.970 for the plain sum), so the
    sum is plain.

    Shapes: (n, d), d at most n_train - 1.
    Cost: 2 n q r^2 (m + k) flops a module in float64, q = min(n_train, LANDMARKS); above a rank of about
        sqrt(m k / (m + k)), 22 for 1280 x 768, forming dW would take fewer. 8 q^2 bytes for the kernel, and tiles.
        Every weight is read once as an adapter, those of landmarks again for each 2,048 / r adapters.
    Source: Schölkopf, Smola, Müller (1998); landmarks as in Williams, Seeger (2001).
    """
    landmarks = task.landmarks
    q = len(landmarks)
    gram = products(task, landmarks, landmarks)
    energy = float(gram.diagonal().mean())
    means, total = gram.mean(dim=0), float(gram.mean())
    values, vectors = leading(_centred(gram, means, total), energy, task.dimensions)
    weights = vectors / values.sqrt()
    out = torch.empty((len(task.zoo), len(values)), dtype=torch.float64, device=task.device)
    out[landmarks.to(task.device)] = vectors * values.sqrt()
    others = torch.ones(len(task.zoo), dtype=torch.bool)
    others[landmarks] = False
    for rows in others.nonzero().flatten().split(max(q, _TILE)):
        out[rows.to(task.device)] = _centred(products(task, rows, landmarks), means, total) @ weights
    return out


def _centred(kernel: Tensor, means: Tensor, total: float) -> Tensor:
    """In place: inner products with the landmarks (b, q), once the landmarks' mean is taken from both sides."""
    return kernel.sub_(kernel.mean(dim=1, keepdim=True)).sub_(means - total)


def products(task: Task, rows: Tensor, landmarks: Tensor) -> Tensor:
    """Inner products (b, q) of the updates of some rows with those of the landmarks."""
    out = torch.zeros((len(rows), len(landmarks)), dtype=torch.float64, device=task.device)
    for place, module in task.modules:
        for down, left in _tiles(task, place, module, rows):
            for across, right in _tiles(task, place, module, landmarks):
                ups = (left[0] @ right[0].T).mul_(left[1] @ right[1].T)
                if module.rank > 1:
                    ups = ups.view(-1, module.rank, across.stop - across.start, module.rank).sum(dim=(1, 3))
                out[down, across] += ups
    return out


def _tiles(task: Task, place: int, module: Module, rows: Tensor) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    """Yields (slice, (s B^T (b r, m), A (b r, k))) of one module, adapter by adapter and rank by rank."""
    step = max(1, _TILE // module.rank)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        up = task.entries(some, module.up.columns).view(len(some), *module.up.shape)
        down = task.entries(some, module.down.columns).view(-1, module.down.shape[1])
        up = up.mul_(task.scales(some, place)[:, None, None]).mT.reshape(-1, module.up.shape[0])
        yield slice(start, start + len(some)), (up, down)
