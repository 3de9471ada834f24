"""Retrieval: are the adapters nearest to one those of its class? Nothing is learned but the scale of the features."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from lora_perf.classifiers.coordinates import chunks
from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.standardise import Moments, Standardiser
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues

RETRIEVAL = "retrieval"
_CHUNK_NBYTES = 64 << 20
_LIKENESS_NBYTES = 1 << 30  # the cosines of values in a file, of which each further part takes a pass
_SMALLEST = torch.finfo(torch.float32).tiny


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

        Cost: 2 n_test n f flops and a sort of n numbers for each test adapter. Values that stay in a packed file are read once,
            where the cosines of all test adapters fit in 1 GiB.
        Raises:
            LoraPerfError: no test adapter has another of its class.
        """
        begin = time.perf_counter()
        values, test = examples.values, examples.split.test
        likened = _Likened(values, examples.split) if isinstance(values, Tensor) else _LikenedInFile(values, examples.split)
        precision = torch.zeros(len(test), dtype=torch.float64)
        first = torch.full((len(test),), len(labels) + 1)
        for places, likeness in likened:
            rows = test[places]
            likeness[torch.arange(len(rows)), rows] = -torch.inf  # itself comes last, and is left out
            order = likeness.argsort(dim=1, descending=True, stable=True)[:, :-1]
            alike = labels[order] == labels[rows, None]
            ranks = torch.arange(1, order.shape[1] + 1)
            found = alike.cumsum(dim=1) / ranks
            counts = alike.sum(dim=1)
            precision[places] = torch.where(alike, found, 0).sum(dim=1).double() / counts.clamp(min=1)
            first[places] = torch.where(counts > 0, alike.int().argmax(dim=1) + 1, len(labels) + 1)
        if not bool((first <= len(labels)).any()):
            raise LoraPerfError(
                expected="test adapters with others of their class", found="none", fix="choose another column for --target"
            )
        run = Run(None, 0.0, seconds=time.perf_counter() - begin)
        found = torch.stack([precision, first.double()], dim=1)
        return Fitted(found[None], (run,), values.shape[1], likened.standardiser.dropped)


class _Likened:
    """Places of some test adapters and their cosines with all (b, n), in float32."""

    def __init__(self, values: Tensor, split: Split) -> None:
        self.standardiser = standardiser = Standardiser.fit(values, split.train)
        rows = values.index_select(1, standardiser.kept).to(torch.float32).cpu()
        rows.sub_(standardiser.mean.float().cpu()).div_(standardiser.scale.float().cpu())
        self._unit = rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=_SMALLEST))
        self._test = split.test

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        for places in _parts(len(self._test), max(1, _CHUNK_NBYTES // (8 * len(self._unit)))):
            yield places, self._unit[self._test[places]] @ self._unit.mT


class _LikenedInFile:
    """The same of values in a file, added up over its columns: `standardiser` is known once a part was asked for."""

    standardiser: Standardiser

    def __init__(self, values: StoredValues, split: Split) -> None:
        self._values, self._split = values, split

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        n, test = len(self._values), self._split.test
        for part in _parts(len(test), max(1, _LIKENESS_NBYTES // (4 * n))):
            likeness, squares, found = torch.zeros(part.stop - part.start, n), torch.zeros(n), []
            for raw, moments in chunks(self._values, self._split.train):
                found.append(moments)
                kept = moments.varies & moments.finite
                rows = raw[:, kept].sub_(moments.mean[kept].float()).div_(moments.deviation[kept].float())
                likeness.addmm_(rows[test[part]], rows.mT)
                squares += rows.square_().sum(dim=1)
            self.standardiser = Standardiser.of(Moments.beside(found))
            lengths = squares.sqrt_().clamp_(min=_SMALLEST)
            likeness.div_(lengths).div_(lengths[test[part], None])
            for places in _parts(len(likeness), max(1, _CHUNK_NBYTES // (8 * n))):
                yield slice(part.start + places.start, part.start + places.stop), likeness[places]


def _parts(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


CLASSIFIERS.add(RETRIEVAL, Retrieval())
