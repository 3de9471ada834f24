"""PCA of the flat rows, and the rotation of standardised rows that the networks are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_perf.representations.learned.components import COMPONENTS, leading
from lora_perf.representations.learned.fitting import learned
from lora_perf.representations.learned.task import LANDMARKS, Task

# A column is constant if its deviation is at most the rounding of its float32 entries.
CONSTANT = 8 * float(torch.finfo(torch.float32).eps)
View = Callable[[Tensor], Tensor]


@learned("pca")
def pca(task: Task) -> Tensor:
    """Scores of the flat rows on the principal components of the train rows.

    With more parameters than train rows (or than LANDMARKS) the components come from the inner products (q, q) of the
    centred rows, q = min(n_train, LANDMARKS), else from the covariance (p, p) of all train rows; all in float64.

    Shapes: (n, d), d at most min(n_train - 1, p).
    Cost: 2 q^2 p + 2 (n + q) p d flops, each weight read twice in column ranges; 8 q^2 bytes and 128 MB chunks, never a
        matrix (p, d) nor a second copy of the rows. By the covariance 2 n_train p^2 + 2 n p d flops, each weight of a train
        row read three times.
    Source: Turk, Pentland (1991) for the inner products.
    """
    return (
        _by_covariance(task) if task.p <= min(len(task.train), LANDMARKS) else Rotation.fit(task, task.dimensions).scores(None)
    )


def _by_covariance(task: Task) -> Tensor:
    n, train = len(task.train), task.train
    mean = torch.cat([task.entries(train, columns).mean(dim=0) for columns in task.chunks()])
    covariance = torch.zeros((task.p, task.p), dtype=torch.float64, device=task.device)
    energy = 0.0
    for rows in task.tiles(train, task.p):
        block = task.whole(rows)
        energy += float(block.square().sum()) / n
        covariance.addmm_((centred := block - mean).T, centred)
    _, vectors = leading(covariance, energy, task.dimensions)
    out = torch.empty((len(task.zoo), vectors.shape[1]), dtype=torch.float64, device=task.device)
    for rows in task.tiles(None, task.p):
        out[rows.to(task.device)] = (task.whole(rows) - mean) @ vectors
    # The sign rule is that of the scores of the train rows, on whichever route.
    return out * torch.where(out[train.to(task.device)].pow(3).sum(dim=0) < 0, -1.0, 1.0)


@dataclass(frozen=True)
class Rotation:
    """The principal components of q landmarks, as combinations of their rows.

    Attributes:
        task: whose rows they are.
        mean, scale: (p,) float64 on the columns of the chunks; rows become (x - mean) * scale.
        weights: (q, d) float64, the combinations.
    """

    task: Task
    mean: Tensor
    scale: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, task: Task, dimensions: int | None, *, most: int = COMPONENTS, standardise: bool = False) -> Rotation:
        """The leading components; with `standardise`, of columns of unit variance, constant ones left out."""
        q = len(task.landmarks)
        gram = torch.zeros((q, q), dtype=torch.float64, device=task.device)
        means, scales, energy = [], [], 0.0
        for columns in task.chunks():
            x = task.entries(task.landmarks, columns)
            mean, scale = x.mean(dim=0), torch.ones(x.shape[1], dtype=torch.float64, device=task.device)
            if standardise:
                deviation = x.std(dim=0, correction=0)
                scale = torch.where(deviation > CONSTANT * x.abs().amax(dim=0), 1 / deviation, 0.0)
            x.mul_(scale)
            energy += float(x.square().sum()) / q
            x.sub_(mean * scale)
            gram.addmm_(x, x.T)
            means.append(mean)
            scales.append(scale)
        values, vectors = leading(gram, energy, dimensions, most)
        return cls(task, torch.cat(means), torch.cat(scales), vectors / values.sqrt())

    def scores(self, rows: Tensor | None) -> Tensor:
        """Scores (rows, d) of some rows, or of all."""
        return self.views(rows, [lambda x: x])[0]

    def views(self, rows: Tensor | None, views: Sequence[View]) -> list[Tensor]:
        """Scores (rows, d) of altered rows, for each way to alter them: views take and give centred, scaled columns."""
        count = len(self.task.zoo) if rows is None else len(rows)
        out = [torch.zeros((count, self.weights.shape[1]), dtype=torch.float64, device=self.task.device) for _ in views]
        left = 0
        for columns in self.task.chunks():
            right = left + columns.stop - columns.start
            mean, scale = self.mean[left:right], self.scale[left:right]
            axes = self.task.entries(self.task.landmarks, columns).sub_(mean).mul_(scale).T @ self.weights
            top = 0
            for some in self.task.tiles(rows, right - left):
                x = self.task.entries(some, columns).sub_(mean).mul_(scale)
                for one, view in zip(out, views, strict=True):
                    one[top : top + len(some)] += view(x) @ axes
                top += len(some)
            left = right
        return out
