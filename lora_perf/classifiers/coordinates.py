"""Features as probes read them: standardised, float64, rotated where they are wider than the train rows are many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.classifiers.standardise import Moments, Standardiser
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues

Floats = NDArray[np.float64]

# Of min(train rows, features). The eigenvectors of 10,000 rows take some minutes and 2.4 GB, those of 20,000 half an hour.
MOST_DIMENSIONS = 10_000
_CHUNK_NBYTES = 64 << 20  # of float64 columns at a time
_STORED_CHUNK_NBYTES = 256 << 20  # of a file: of 10,000 rows pieces of 13 kB, three pages
_SMALL = 10_000_000  # entries below which a second thread costs more than it gains: ten times more on a busy machine


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Standardised features of the parts of a split, in at most as many dimensions as there are train rows.

    Attributes:
        train, validation, test: (n_part, d) float64, d = min(f, rank of the train rows).
        dropped: the columns that were constant on the train rows.
        further: values (m, f) -> their coordinates (m, d); holds the values of the train rows where these were rotated.
    """

    train: Floats
    validation: Floats
    test: Floats
    dropped: Tensor
    further: Callable[[Tensor], Floats]


def coordinates(values: Tensor | StoredValues, split: Split) -> Coordinates:
    """Features as probes see them: standardised by the train rows, rotated where they are wider than these are many.

    With f > n_train the train rows X span at most n_train dimensions. A penalty on the squared weights keeps the weights
    in that span, and a part of another row outside of it is equally far from every train row; so the coordinates within
    the span, (K U) S^-1 with the eigenvectors U and eigenvalues S^2 of the Gram matrix X X^T and the products K of all
    rows with X, give ridge, logistic regression and the order of neighbours the very results of the features themselves.

    Shapes: values (n, f).
    Cost: f <= n_train: one copy in float64. Else 2 n n_train f flops and the eigenvectors of (n_train, n_train), in float64;
        features are read in chunks of columns: of 64 MiB, or of 256 MiB of those that stay in a packed file, of which each
        byte is read once.
    Raises:
        LoraPerfError: values that are not finite, no column that varies, more than MOST_DIMENSIONS dimensions.
    """
    columns = _OnePass(values, split.train) if isinstance(values, StoredValues) else _Known(values, split.train)
    n, n_train, f = len(values), len(split.train), columns.width
    refuse_too_many(n_train, f)
    if f <= n_train:
        unit = n_train**0.5
        x = torch.empty((n, f), dtype=torch.float64)
        done = 0
        for chunk in columns:
            x[:, done : done + chunk.shape[1]] = chunk
            done += chunk.shape[1]
        x = x[:, :done]
        standardiser = columns.standardiser
        train, validation, test = (x[rows] for rows in (split.train, split.validation, split.test))

        def further(more: Tensor) -> Floats:
            parts = list(_standardised(more.to(values.device), standardiser))
            return np.asarray(torch.cat(parts, dim=1).cpu().numpy() / unit)

    else:
        chosen = split.train.to(values.device)
        products = torch.zeros((n, n_train), dtype=torch.float64, device=values.device)
        for chunk in columns:
            products.addmm_(chunk, chunk[chosen].mT)
        products = products.cpu()
        standardiser = columns.standardiser
        unit = max(n_train, len(standardiser.kept)) ** 0.5
        squares, vectors = _eigenvectors(products[split.train])
        inside = squares > squares[-1] * n_train * torch.finfo(torch.float64).eps
        roots, vectors = squares[inside].sqrt(), vectors[:, inside]
        train = vectors * roots
        validation, test = (products[rows] @ (vectors / roots) for rows in (split.validation, split.test))

        def further(more: Tensor) -> Floats:
            more = more.to(values.device)
            step = max(1, _chunk_nbytes(values) // (8 * (len(more) + len(values))))
            found = torch.zeros((len(more), n_train), dtype=torch.float64, device=values.device)
            for chunk, own in zip(
                _standardised(more, standardiser, step), _standardised(values, standardiser, step), strict=True
            ):
                found.addmm_(chunk, own[chosen].mT)
            return np.asarray((found.cpu() @ (vectors / roots)).numpy() / unit)

    train, validation, test = (part.numpy() / unit for part in (train, validation, test))
    return Coordinates(train, validation, test, standardiser.dropped, further)


def refuse_too_many(n_train: int, f: int) -> None:
    """Raises LoraPerfError where the coordinates of f features on n_train rows would take hours and tens of gigabytes."""
    if min(n_train, f) > MOST_DIMENSIONS:
        raise LoraPerfError(
            expected=f"at most {MOST_DIMENSIONS:,} train rows or features for a probe",
            found=f"{n_train:,} train rows of {f:,} features",
            fix="use the classifier mlp for these, a representation of fewer features or fewer layers",
        )


def few_threads(size: int) -> AbstractContextManager[object]:
    """One thread for the matrix products of small work inside the block, all of them for larger work."""
    from threadpoolctl import threadpool_limits  # a part of scikit-learn's installation

    return threadpool_limits(1) if size < _SMALL else nullcontext()


def _eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    with few_threads(matrix.numel()):
        values, vectors = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(values), torch.from_numpy(vectors)


class _Known:
    """Standardised columns (n, step) in float64, chunk by chunk, of values of which all moments are found first."""

    def __init__(self, values: Tensor, train: Tensor) -> None:
        self.standardiser = Standardiser.fit(values, train)
        self.width = len(self.standardiser.kept)
        self._values = values

    def __iter__(self) -> Iterator[Tensor]:
        return _standardised(self._values, self.standardiser)


class _OnePass:
    """The same of values in a file, whose moments are found chunk by chunk: `standardiser` is known when all were asked for."""

    standardiser: Standardiser

    def __init__(self, values: StoredValues, train: Tensor) -> None:
        self.width = values.shape[1]
        self._values, self._train = values, train

    def __iter__(self) -> Iterator[Tensor]:
        found = []
        for raw, moments in chunks(self._values, self._train):
            found.append(moments)
            kept = moments.varies & moments.finite
            yield raw[:, kept].to(torch.float64).sub_(moments.mean[kept]).div_(moments.deviation[kept])
        self.standardiser = Standardiser.of(Moments.beside(found))


def chunks(values: StoredValues, train: Tensor) -> Iterator[tuple[Tensor, Moments]]:
    """All columns, some at a time (n, step) in float32, and what is known of them; of a packed file each byte is read once."""
    step = max(1, _STORED_CHUNK_NBYTES // (8 * len(values)))
    for start in range(0, values.shape[1], step):
        raw = values.index_select(1, torch.arange(start, min(start + step, values.shape[1])))
        yield raw, Moments.of(raw, train)


def _chunk_nbytes(values: Tensor | StoredValues) -> int:
    return _STORED_CHUNK_NBYTES if isinstance(values, StoredValues) else _CHUNK_NBYTES


def _standardised(values: Tensor | StoredValues, standardiser: Standardiser, step: int | None = None) -> Iterator[Tensor]:
    """Chunks of columns (n, step) in float64, standardised."""
    kept, mean, scale = standardiser.kept, standardiser.mean, standardiser.scale
    step = step or max(1, _chunk_nbytes(values) // (8 * len(values)))
    for start in range(0, len(kept), step):
        part = slice(start, start + step)
        columns = values.index_select(1, kept[part]).to(torch.float64)
        yield columns.sub_(mean[part]).div_(scale[part])
