"""The scales of a table's adapters, from all columns and entries that state one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.dialects.schema import Pair
from lora_perf.errors import LoraPerfError, listed
from lora_perf.sources.meaning import Meaning
from lora_perf.sources.shards import Shard

Numbers = NDArray[np.float64]
# Columns that state an alpha or a rank for the whole of an adapter; the short names count as such where they hold numbers,
# "r" and "rank" where they hold whole ones.
_ALPHAS = ("lora_alpha", "network_alpha", "ss_network_alpha", "alpha")
_RANKS = ("lora_rank", "lora_r", "network_rank", "network_dim", "ss_network_dim", "rank", "r")
_ROOT = "use_rslora"
_log = logging.getLogger(__name__)


def scales_of(meaning: Meaning, shards: Sequence[Shard], where: str) -> Tensor | None:
    """(n, modules) the scale s of dW = s B A, None where each is 1.

    `<module>.alpha` gives s = alpha / r, as in a file; a column `lora_alpha` (`network_alpha`, `alpha`) gives it for all
    modules of its row, by sqrt(r) where a column `use_rslora` says so. A column of ranks must agree with the factors.

    Cost: each of these columns is read once.

    Raises:
        LoraPerfError: an alpha that is missing or no finite float32; two statements that contradict each other.
    """
    pairs = meaning.pairs
    if not pairs:
        return None
    _check_ranks(pairs, shards, where)
    whole = _whole_alphas(shards)
    n = sum(shard.rows for shard in shards)
    if whole is None and all(pair.scale == 1 for pair in pairs):
        return None
    scales = np.empty((n, len(pairs)), np.float32)
    roots = _roots(shards) if whole is not None else None
    for place, pair in enumerate(pairs):
        stated: Numbers | float | None = pair.scale if pair.alpha is None else _alphas(pair.alpha, shards) * (1 / pair.rank)
        if pair.alpha is not None:
            _check_claims(pair, stated, where)
        if whole is not None:
            name, values = whole
            by_row = values * (1 / pair.rank if roots is None else np.where(roots, pair.rank**-0.5, 1 / pair.rank))
            if pair.alpha is None and not meaning.stated:
                stated = by_row
            else:
                _agree(name, pair, by_row, np.broadcast_to(np.asarray(stated), by_row.shape))
        scales[:, place] = stated
    if whole is not None:
        _log.warning("%s: the scale of each adapter is taken from its column %s", where, whole[0])
    return None if (scales == 1).all() else torch.from_numpy(scales)


def _alphas(name: str, shards: Sequence[Shard]) -> Numbers:
    """(n,) a column of alphas, each of them there and finite as a float32."""
    values = np.concatenate([shard.numbers(name) for shard in shards])
    fine = np.abs(values) <= np.finfo(np.float32).max  # false for nan
    if not fine.all():
        row = int(np.argmin(fine))
        raise LoraPerfError(
            expected=f"a finite float32 in every row of column {name}",
            found=f"{'none' if np.isnan(values[row]) else format(values[row], 'g')} in row {row}",
            fix="fill the value in, or leave the row out",
        )
    return values


def _whole_alphas(shards: Sequence[Shard]) -> tuple[str, Numbers] | None:
    """The column of alphas that count for all modules of their row, and its values."""
    names = [name for name in _ALPHAS if _states_numbers(name, shards)]
    found = [(name, _alphas(name, shards)) for name in names]
    for name, values in found[1:]:
        if not np.array_equal(values, found[0][1]):
            row = int(np.argmax(values != found[0][1]))
            raise LoraPerfError(
                expected=f"one alpha in the columns {found[0][0]} and {name}",
                found=f"{found[0][1][row]:g} and {values[row]:g} in row {row}",
                fix="remove or rename the column that is no alpha of the adapters",
            )
    return found[0] if found else None


def _states_numbers(name: str, shards: Sequence[Shard]) -> bool:
    """Whether a column is there and holds what states an alpha or a rank: numbers, or texts where only trainers write it so."""
    if not any(name in shard.columns for shard in shards):
        return False
    missing = [shard.where for shard in shards if name not in shard.columns]
    if missing:
        raise LoraPerfError(
            expected=f"the column {name}, which states a scale or rank, in every shard or in none",
            found=f"none in {listed(missing, 3)}",
            fix="make the shards agree",
        )
    kinds = [shard.column(name).type for shard in shards]
    if name.startswith("ss_") or any(name not in shard.schema.names for shard in shards):
        return True
    if name in ("r", "rank"):
        return all(pa.types.is_integer(kind) for kind in kinds)
    return all(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) for kind in kinds)


def _check_ranks(pairs: Sequence[Pair], shards: Sequence[Shard], where: str) -> None:
    """Raises where a column states a rank that no module has."""
    ranks = sorted({pair.rank for pair in pairs})
    for name in _RANKS:
        if not _states_numbers(name, shards):
            continue
        values = np.concatenate([shard.numbers(name) for shard in shards])
        wrong = ~np.isin(values, ranks)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise LoraPerfError(
                expected=f"factors of the rank that column {name} of {where} states",
                found=f"{values[row]:g} in row {row}, and factors of rank {listed(ranks)}",
                fix="store the factors as matrices (r, k) and (m, r), or rename the column if it is no rank of the adapters",
            )


def _roots(shards: Sequence[Shard]) -> NDArray[np.bool_] | None:
    """(n,) whether the scale is alpha / sqrt(r); None where no column says so."""
    if not all(_ROOT in shard.columns for shard in shards):
        return None
    return np.concatenate([shard.numbers(_ROOT) == 1 for shard in shards])


def _check_claims(pair: Pair, scales: Numbers | float | None, where: str) -> None:
    """Compares the scales by a module's alpha column with what the metadata state of them."""
    for claim in pair.claims:
        known = np.array([value for value in (claim.scale, claim.other) if value is not None])
        same = np.isclose(np.asarray(scales)[:, None], known, rtol=1e-4, atol=0).any(axis=1)
        if same.all():
            continue
        if not claim.binding:
            _log.warning("%s: %s, but column %s gives other scales and counts", where, claim.where, pair.alpha)
            continue
        row = int(np.argmin(same))
        raise LoraPerfError(
            expected=f"one scale of {pair.module}",
            found=f"{np.asarray(scales)[row]:g} by column {pair.alpha} in row {row}, {claim.scale:g} by {claim.where}",
            fix="remove the statement that is wrong",
        )


def _agree(name: str, pair: Pair, mine: Numbers, theirs: Numbers) -> None:
    same = np.isclose(mine, theirs, rtol=1e-6, atol=0)
    if not same.all():
        row = int(np.argmin(same))
        raise LoraPerfError(
            expected=f"one scale of {pair.module}",
            found=f"{mine[row]:g} by column {name} and {theirs[row]:g} by {pair.alpha or 'the metadata'} in row {row}",
            fix="remove or rename the column that is no alpha of the adapters",
        )
