"""The map of a zoo: its adapters on the first two principal axes of the features that were read best."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lora_perf.core.stored import StoredValues
from lora_perf.experiment.inputs import Inputs
from lora_perf.experiment.plan import PlannedCell
from lora_perf.experiment.prepared import Prepared
from lora_perf.report.cells import CellResult
from lora_perf.report.maps import ZooMap

MOST = 2000  # adapters on a map; further ones would cover each other, and make the page large
_LEAST, _ENTRIES = 500, 1 << 26  # of wide features fewer adapters, but so many: seconds, and half a gigabyte in float64
_CHUNK_NBYTES = 64 << 20
_SMALL = 200  # rows or columns of a matrix that is decomposed as a whole
_CONSTANT = 8 * float(torch.finfo(torch.float32).eps)  # a deviation of so much of the largest value is rounding


def with_map(prepared: Prepared, inputs: Inputs, one: PlannedCell, result: CellResult) -> CellResult:
    """The result of a cell with the map of its features; as it is where these would have to be fitted again or do not vary."""
    features = inputs.at_hand(one)
    if features is None:
        return result
    zoo, target = prepared.zoo, prepared.question.target
    split = prepared.divisions[one.cell.division].split
    part_of = {row: part for part, rows in enumerate((split.train, split.validation, split.test)) for row in rows.tolist()}
    rows = drawn(torch.tensor(sorted(part_of)), features.shape[1], prepared.config.seed)
    found = principal_axes(features.matrix.index_select(0, rows.to(features.matrix.device)))
    if found is None:
        return result
    places, shares = found
    values = target.values[rows]
    if target.task == "several":
        values = values.argmax(dim=1)
    chosen = rows.tolist()
    x, y = ([float(f"{value:.4g}") for value in axis] for axis in places.T.tolist())
    return replace(
        result,
        map=ZooMap(
            rows=chosen,
            adapters=[zoo.names[row] for row in chosen],
            parts=[part_of[row] for row in chosen],
            truth=values.tolist(),
            x=x,
            y=y,
            shares=shares.tolist(),
            total=len(part_of),
        ),
    )


def drawn(rows: Tensor, features: int, seed: int) -> Tensor:
    """Rows, ascending: all of them, or as many of these as a map shows, drawn by a seed.

    Shapes: rows (n,) -> (m,).
    """
    most = min(MOST, max(_LEAST, _ENTRIES // max(1, features)))
    if len(rows) <= most:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[:most].sort().values]


def principal_axes(values: Tensor | StoredValues) -> tuple[Tensor, Tensor] | None:
    """Rows on the two axes of most variance of their standardised columns, and the share of it that each axis carries.

    Columns that do not vary are left out; None where all are such or there are fewer than three rows. An axis points to where
    the row that is farthest out on it stands.

    Shapes: values (n, f) -> (n, 2) and (2,) float64.
    Cost: n^2 f flops, or n f^2 where there are fewer columns; chunks of 64 MiB.
    """
    whole = torch.as_tensor(values if isinstance(values, Tensor) else values.tensor()).cpu()
    n, f = whole.shape
    if n < 3:
        return None
    step = max(1, _CHUNK_NBYTES // (8 * n))
    chunks = [x for start in range(0, f, step) if (x := _standardised(whole[:, start : start + step])).shape[1]]
    kept = sum(x.shape[1] for x in chunks)
    if not kept:
        return None
    if kept <= n:
        x = torch.cat(chunks, dim=1)
        energies, vectors = _leading(x.T @ x)
        places = x @ vectors
    else:
        gram = torch.zeros((n, n), dtype=torch.float64)
        for x in chunks:
            gram.addmm_(x, x.T)
        energies, vectors = _leading(gram)
        places = vectors * energies.sqrt()
    shares = energies / (n * kept)
    if places.shape[1] < 2:  # a single column
        places, shares = (torch.nn.functional.pad(one, (0, 1)) for one in (places, shares))
    farthest = places.gather(0, places.abs().argmax(dim=0, keepdim=True))
    return places * torch.where(farthest < 0, -1.0, 1.0), shares


def _leading(of: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest eigenvalues and their vectors (n, 2) of a matrix (n, n), the largest first; of a larger one by Lanczos'
    method, from a fixed vector: the whole decomposition would take seconds.
    """
    n = len(of)
    if n < _SMALL:
        values, vectors = torch.linalg.eigh(of)
    else:
        from scipy.sparse.linalg import eigsh

        start = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
        values, vectors = map(torch.from_numpy, eigsh(of.numpy(), k=2, v0=start, maxiter=100 * n))
    return values[-2:].flip(0).clamp(min=0), vectors[:, -2:].flip(1)


def _standardised(columns: Tensor) -> Tensor:
    """Those of some columns that vary, with mean 0 and deviation 1."""
    x = columns.double()
    deviation = x.std(dim=0, correction=0)
    varies = deviation > _CONSTANT * x.abs().amax(dim=0)
    x = x[:, varies]
    return x.sub_(x.mean(dim=0)).div_(deviation[varies])
