"""Retrieval: are the adapters nearest to one those of its class? Nothing is learned but the scale of the features."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.stored import StoredValues

RETRIEVAL = "retrieval"
_CHUNK_NBYTES = 64 << 20


class Retrieval:
    """All other adapters in the order of their cosine with a test adapter, features standardised by the train rows."""

    name = RETRIEVAL
    about = "other adapters in the order of their cosine, for --task retrieval"
    seeded = False
    by_epochs = False
    targets: tuple[str, ...] = ("retrieval",)
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It takes any number of features."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """Average precision of each test adapter: the mean, over the others of its class, of the share of its class among
        those that are nearer; and the place of the first of its class.

        `Fitted.predictions` is (1, n_test, 2) of these; the place is beyond all others where there is none of its class.

        Cost: 2 n_test n f flops and a sort of n numbers for each test adapter.
        Raises:
            LoraPerfError: no test adapter has another of its class.
        """
        begin = time.perf_counter()
        standardiser = Standardiser.fit(examples.values, examples.split.train)
        test = examples.split.test
        everyone = _unit(examples.values, standardiser)
        precision = torch.zeros(len(test), dtype=torch.float64)
        first = torch.full((len(test),), len(labels) + 1)
        step = max(1, _CHUNK_NBYTES // (8 * len(labels)))
        for start in range(0, len(test), step):
            rows = test[start : start + step]
            likeness = everyone[rows] @ everyone.mT
            likeness[torch.arange(len(rows)), rows] = -torch.inf  # itself comes last, and is left out
            order = likeness.argsort(dim=1, descending=True, stable=True)[:, :-1]
            alike = labels[order] == labels[rows, None]
            ranks = torch.arange(1, order.shape[1] + 1)
            found = alike.cumsum(dim=1) / ranks
            counts = alike.sum(dim=1)
            precision[start : start + step] = torch.where(alike, found, 0).sum(dim=1).double() / counts.clamp(min=1)
            first[start : start + step] = torch.where(counts > 0, alike.int().argmax(dim=1) + 1, len(labels) + 1)
        if not bool((first <= len(labels)).any()):
            raise LoraPerfError(
                expected="test adapters with others of their class", found="none", fix="choose another column for --target"
            )
        run = Run(None, 0.0, seconds=time.perf_counter() - begin)
        found = torch.stack([precision, first.double()], dim=1)
        return Fitted(found[None], (run,), examples.values.shape[1], standardiser.dropped)


def _unit(values: Tensor | StoredValues, standardiser: Standardiser) -> Tensor:
    """(n, f) standardised features of length 1, in float32."""
    rows = values.index_select(1, standardiser.kept).to(torch.float32).cpu()
    rows.sub_(standardiser.mean.float().cpu()).div_(standardiser.scale.float().cpu())
    return rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny))


CLASSIFIERS.add(RETRIEVAL, Retrieval())
