"""The scales of a table's adapters, from all columns and entries of metadata that state one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.dialects.schema import Pair, Reading
from lora_perf.io.dialects.statements import scale_entries
from lora_perf.io.tables.meaning import Meaning
from lora_perf.io.tables.shards import Shard

Numbers = NDArray[np.float64]
# Columns that state the rank of an adapter, as the metadata of files do.
_RANKS = ("lora_rank", "lora_r", "lora_dim", "network_rank", "network_dim", "rank", "r")
# Each distinct statement is read as the metadata of a file are, which takes some milliseconds.
_MOST_STATEMENTS = 1000
_log = logging.getLogger(__name__)


def scales_of(meaning: Meaning, shards: Sequence[Shard], where: str) -> Tensor | None:
    """(n, modules) the scale s of dW = s B A, None where each is 1.

    `<module>.alpha` gives s = alpha / r, as in a file. Columns that have the names of entries of a file's metadata
    (`lora_alpha`, `alpha`, `rank`, `use_rslora`, `ss_network_alpha`, ...) are the metadata of the adapter of their row, beside
    those of the schema, and are read by the same rules.

    Cost: each of these columns is read once.

    Raises:
        LoraPerfError: an alpha that is missing or no finite float32; two statements that contradict each other, or one that
            contradicts the factors.
    """
    if not meaning.pairs:
        return None
    names = [name for name in _statements(shards, meaning.tensors) if _is_stated(name, shards)]
    _check_ranks(meaning.pairs, [name for name in names if name.lower() in _RANKS], shards, where)
    n = sum(shard.rows for shard in shards)
    alphas = {pair.alpha: _alphas(pair.alpha, shards) for pair in meaning.pairs if pair.alpha is not None}
    scales: NDArray[np.float32] | None = None
    told: dict[str, None] = {}
    for metadata, rows in _by_statement(names, shards, n):
        reading = _read(meaning, metadata, rows, where)
        told |= dict.fromkeys((*reading.notes, *reading.problems))
        for place, pair in enumerate(meaning.in_order(reading.pairs)):
            stated = pair.scale if pair.alpha is None else alphas[pair.alpha][rows] * (1 / pair.rank)
            if pair.alpha is not None:
                told |= dict.fromkeys(_contradictions(pair, np.asarray(stated), rows))
            elif scales is None and stated == 1:
                continue
            some = np.atleast_1d(np.asarray(stated, np.float64))
            if (wrong := _unheld(some)) is not None:  # what is stated beside tensors may be larger than any alpha
                raise LoraPerfError(
                    expected=f"a scale of {pair.module} that a float32 holds in row {rows[wrong]}",
                    found=f"{some[wrong]:g}",
                    fix="repair the column or the metadata that states it",
                )
            if scales is None:
                scales = np.ones((n, len(meaning.pairs)), np.float32)
            scales[rows, place] = stated
    for line in told:
        _log.warning("%s: %s", where, line)
    return None if scales is None or bool((scales == 1).all()) else torch.from_numpy(scales)


def _read(meaning: Meaning, metadata: Mapping[str, str], rows: NDArray[np.int64], where: str) -> Reading:
    try:
        return meaning.read(metadata)
    except LoraPerfError as error:
        place = f"row {rows[0]} of {where}, where the columns {listed(metadata)} count as its metadata" if metadata else where
        raise error.but(expected=f"{error.expected}, in {place}") from None


def _alphas(name: str, shards: Sequence[Shard]) -> Numbers:
    """(n,) a column of alphas, each of them there and finite as a float32."""
    values = np.concatenate([shard.numbers(name) for shard in shards])
    if (row := _unheld(values)) is not None:
        raise LoraPerfError(
            expected=f"a finite float32 in every row of column {name}",
            found=f"{'none' if np.isnan(values[row]) else format(values[row], 'g')} in row {row}",
            fix="fill the value in, or leave the row out",
        )
    return values


def _unheld(values: Numbers) -> int | None:
    """The place of the first that is no finite float32; None where all are."""
    fine = np.abs(values) <= np.finfo(np.float32).max  # false for nan
    return None if fine.all() else int(np.argmin(fine))


def _statements(shards: Sequence[Shard], tensors: Collection[str]) -> list[str]:
    """The columns whose names are those of metadata that speak of a rank or a scale, and not of tensors."""
    others = [name for shard in shards for name in shard.columns if name not in tensors]
    names = [name for name, _ in scale_entries(dict.fromkeys(others, ""))]
    for name in names:
        missing = [shard.where for shard in shards if name not in shard.columns]
        if missing:
            raise LoraPerfError(
                expected=f"the column {name}, which states a scale or a rank, in every shard or in none",
                found=f"none in {listed(missing, 3)}",
                fix="make the shards agree",
            )
    return names


def _is_stated(name: str, shards: Sequence[Shard]) -> bool:
    """Whether the values of such a column are of a type that states something; names as short as "r" have other uses too."""
    if all(name in shard.schema.names for shard in shards):
        kinds = [shard.column(name).type for shard in shards]
        if name.lower() in ("r", "rank"):
            return all(pa.types.is_integer(kind) for kind in kinds)
        if "alpha" in name.lower() and not name.lower().startswith(("ss_", "network_alphas")):
            texts = (value for shard in shards for value in shard.column(name).to_pylist())
            if all(pa.types.is_large_string(kind) for kind in kinds):  # as entries of a file's metadata are; "none" is no scale
                return all(isinstance(text, str) and _reads_as_number(text) for text in texts)
            return all(_is_number(kind) for kind in kinds)
        return all(_is_number(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind) for kind in kinds)
    return all(_reads_as_number(value) for shard in shards for value in (shard.partitions.get(name),))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _reads_as_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _check_ranks(pairs: Sequence[Pair], names: Sequence[str], shards: Sequence[Shard], where: str) -> None:
    """Raises where a column states a rank that no module has."""
    ranks = sorted({pair.rank for pair in pairs})
    for name in names:
        if any(name in shard.schema.names and not _is_number(shard.column(name).type) for shard in shards):
            continue  # texts such as "Dynamic", which the reading judges
        values = np.concatenate([shard.numbers(name) for shard in shards])
        wrong = ~np.isin(values, ranks)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise LoraPerfError(
                expected=f"factors of the rank that column {name} of {where} states",
                found=f"{values[row]:g} in row {row}, and factors of rank {listed(ranks)}",
                fix="store the factors as matrices (r, k) and (m, r), or rename the column if it is no rank of the adapters",
            )


def _by_statement(names: Sequence[str], shards: Sequence[Shard], n: int) -> Iterator[tuple[dict[str, str], NDArray[np.int64]]]:
    """The distinct metadata of rows, with the rows that have them."""
    if not names:
        yield {}, np.arange(n)
        return
    columns = [[value for shard in shards for value in shard.column(name).to_pylist()] for name in names]
    rows: dict[tuple[object, ...], list[int]] = {}
    for row, values in enumerate(zip(*columns, strict=True)):
        missing = next((name for name, value in zip(names, values, strict=True) if value is None), None)
        if missing is not None:
            raise LoraPerfError(
                expected=f"a value in every row of column {missing}, which states a scale or a rank",
                found=f"none in row {row}",
                fix="fill the value in, or rename the column if it is nothing of the adapters",
            )
        rows.setdefault(values, []).append(row)
        if len(rows) > _MOST_STATEMENTS:
            raise LoraPerfError(
                expected=f"at most {_MOST_STATEMENTS:,} different scales in the columns {listed(names)}",
                found=f"more before row {row}",
                fix="rename the column that is no alpha or rank of the adapters, or give each module an alpha column",
            )
    for values, places in rows.items():
        yield {name: str(value) for name, value in zip(names, values, strict=True)}, np.asarray(places)


def _contradictions(pair: Pair, scales: Numbers, rows: NDArray[np.int64]) -> Iterator[str]:
    """What is stated of the scales of a module and contradicted by its alphas, which count."""
    for claim in pair.claims:
        known = np.array([value for value in (claim.scale, claim.other) if value is not None])
        same = np.isclose(scales[:, None], known, rtol=1e-4, atol=0).any(axis=1)
        if same.all():
            continue
        if claim.binding:
            wrong = int(np.argmin(same))
            raise LoraPerfError(
                expected=f"one scale for {pair.module}",
                found=f"{scales[wrong]:g} by column {pair.alpha} in row {rows[wrong]}, {claim.scale:g} by {claim.where}",
                fix="remove the statement that is wrong",
            )
        yield f"{claim.where}, but column {pair.alpha} gives other scales, and counts"
