"""One adapter file: what its header means, and the scales of its modules."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.io.dialects import Reading, TensorEntry, read_names
from lora_perf.io.dialects.reading import QUANTISED, UNREAD
from lora_perf.io.dialects.schema import Claim
from lora_perf.io.headers import Entry, Header

# Bytes of a weight of each dtype.
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, **dict.fromkeys(QUANTISED, 1)}
# How an alpha is unpacked; some programs write it as an integer.
_ALPHAS = {"F32": "<f", "F16": "<e", "F64": "<d", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B", "BF16": "<f"}
# Programs that cast a whole file cast its alphas too.
_FLOAT8 = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
# How far an alpha may be from what is stated elsewhere, by the rounding of its dtype; 1e-4 for the others.
_ROUNDING = {"F16": 1e-3, "BF16": 8e-3, "F8_E4M3": 0.07, "F8_E4M3FNUZ": 0.07, "F8_E5M2": 0.13, "F8_E5M2FNUZ": 0.13}
# Alphas this close together are read by one call: reading a page costs less than another call.
_NEAR = 1 << 14


@dataclass(frozen=True, slots=True)
class Claims:
    """Statements of scales that come from alphas, side by side so that those of a file are compared at once.

    Shapes:
        modules (c,) the indices of their modules; wanted (c, 2) the scales that agree; tolerances (c,) by the alphas' dtypes.
    """

    claims: tuple[Claim, ...]
    modules: NDArray[np.intp]
    wanted: NDArray[np.float64]
    tolerances: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a header means: files whose headers are equal share one.

    Attributes:
        reading: the pairs of factors.
        entries: the tensors by name.
        nbytes: of the data section.
        modules: (module, m, k) of each pair: adapters of one zoo agree in them.
        ranks: of each pair.
        scales: (modules,) float64, where they do not depend on an alpha; there it is 1 / r.
        alphas: (index of the module, entry) of the alphas to multiply with.
        claims: what else is stated of scales that come from alphas.
    """

    reading: Reading
    entries: Mapping[str, Entry]
    nbytes: int
    modules: tuple[tuple[str, int, int], ...]
    ranks: tuple[int, ...]
    scales: NDArray[np.float64]
    alphas: tuple[tuple[int, Entry], ...]
    claims: Claims | None


def meaning_of(header: Header, config: Mapping[str, Any] | None, unclear: str | None = None) -> Meaning:
    """The meaning of a header and of the `adapter_config.json` beside the file; for `unclear` see `read_names`.

    Raises:
        LoraPerfError: what `read_names` refuses, a factor without its partner, a part of the update that is not read, weights
            of another dtype than floats and int8 with a scale.
    """
    entries = header.entries
    tensors = {name: TensorEntry(entry.dtype, entry.shape) for name, entry in entries.items()}
    reading = read_names(tensors, header.metadata, config, unclear)
    if reading.unpaired:
        raise LoraPerfError(
            expected="a down and an up of each module",
            found=f"{len(reading.unpaired)} without partner: {listed(reading.unpaired, 3)}",
            fix="leave the adapter out: it is incomplete",
        )
    if reading.unsupported:
        raise LoraPerfError(
            expected="nothing of the update besides factors and their alphas",
            found=f"{UNREAD}{listed(reading.unsupported, 3)}",
            fix="leave the adapter out, or convert it to a plain LoRA with the program that trained it",
        )
    pairs = reading.pairs
    for name in [name for pair in pairs for name in (pair.down, pair.up)]:
        _check_dtype(name, entries[name].dtype, SIZES)
    for pair in pairs:
        if pair.alpha is not None:
            _check_dtype(pair.alpha, entries[pair.alpha].dtype, _ALPHAS | _FLOAT8)
        for name in filter(None, (pair.down_scale, pair.up_scale)):
            _check_dtype(name, entries[name].dtype, ("F32", "F16", "BF16"))
    scales = [1 / pair.rank if pair.scale is None else pair.scale for pair in pairs]
    largest = max(map(abs, scales))
    if largest > float(np.finfo(np.float32).max):
        pair = pairs[list(map(abs, scales)).index(largest)]
        raise LoraPerfError(
            expected=f"a scale of {pair.module} that a float32 holds",
            found=f"{pair.scale:g}",
            fix="repair the configuration or the metadata of the adapter",
        )
    return Meaning(
        reading,
        entries,
        header.end - header.begin,
        tuple((pair.module, pair.up_shape[0], pair.down_shape[1]) for pair in pairs),
        tuple(pair.rank for pair in pairs),
        np.array(scales),
        tuple((i, entries[pair.alpha]) for i, pair in enumerate(pairs) if pair.alpha is not None),
        _claims(reading, entries),
    )


def _claims(reading: Reading, entries: Mapping[str, Entry]) -> Claims | None:
    found = [(i, pair, claim) for i, pair in enumerate(reading.pairs) if pair.alpha for claim in pair.claims]
    if not found:
        return None
    return Claims(
        tuple(claim for _, _, claim in found),
        np.array([i for i, _, _ in found]),
        np.array([(claim.scale, claim.scale if claim.other is None else claim.other) for _, _, claim in found]),
        np.array([_ROUNDING.get(entries[pair.alpha or ""].dtype, 1e-4) for _, pair, _ in found]),
    )


def _check_dtype(name: str, dtype: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if dtype not in known:
        raise LoraPerfError(
            expected=f"a tensor {name!r} of dtype {listed(known)}", found=dtype, fix="convert the adapter or leave it out"
        )


def read_scales(meaning: Meaning, descriptor: int, begin: int) -> NDArray[np.float64]:
    """The scales (modules,) of one file.

    Args:
        begin: where the data section begins.

    Raises:
        LoraPerfError: an alpha that is no finite float32.
        EOFError: the file is shorter than it was.
        OSError: it cannot be read.
    """
    if not meaning.alphas:
        return meaning.scales
    scales = meaning.scales.copy()
    places = sorted(meaning.alphas, key=lambda item: item[1].begin)
    window, first = b"", 0
    for i, (index, entry) in enumerate(places):
        if entry.end > first + len(window):
            first = entry.begin
            end = entry.end
            for _, other in places[i + 1 :]:
                if other.end - first > _NEAR:
                    break
                end = other.end
            window = os.pread(descriptor, end - first, begin + first)
            if len(window) < end - first:
                raise EOFError
        scales[index] *= _number(entry.dtype, window[entry.begin - first : entry.end - first])
    fine = np.abs(scales) <= np.finfo(np.float32).max  # false for nan
    if not fine.all():
        index = int(np.argmin(fine))
        name, alpha = meaning.reading.pairs[index].alpha, scales[index] * meaning.ranks[index]
        raise LoraPerfError(
            expected=f"a finite float32 in {name!r}", found=f"{alpha:g}", fix="repair the adapter or leave it out"
        )
    return scales


def contradictions(meaning: Meaning, scales: NDArray[np.float64]) -> tuple[str, ...]:
    """What is stated of the scales of one file and contradicted by the alphas, which count."""
    claims = meaning.claims
    if claims is None:
        return ()
    values = scales[claims.modules, None]
    if (values[:, 0] == claims.wanted[:, 0]).all():  # as in nearly all files
        return ()
    near = np.abs(values - claims.wanted) <= claims.tolerances[:, None] * np.maximum(np.abs(values), np.abs(claims.wanted))
    wrong = np.flatnonzero(~near.any(axis=1))
    found: Counter[str] = Counter()
    for index in wrong.tolist():
        claim, module = claims.claims[index], int(claims.modules[index])
        pair = meaning.reading.pairs[module]
        if claim.binding:
            raise LoraPerfError(
                expected=f"one scale for {pair.module}",
                found=f"{scales[module]:g} by {pair.alpha}, {claim.scale:g} by {claim.where}",
                fix="remove the statement that is wrong",
            )
        found[claim.where] += 1
    count = len(meaning.modules)
    return tuple(f"{where}, but the alphas of {n} of {count} modules are others, and count" for where, n in found.items())


def _number(dtype: str, value: bytes) -> float:
    if dtype in _FLOAT8:
        return float(torch.frombuffer(bytearray(value), dtype=_FLOAT8[dtype]).float())
    whole = b"\0\0" + value if dtype == "BF16" else value  # the upper half of a float32
    return float(struct.unpack(_ALPHAS[dtype], whole)[0])


def layout_of(meanings: Sequence[Meaning]) -> Layout:
    """The layout that holds adapters of the same modules, with the largest rank of each; downs stand before ups."""
    ranks = np.max([meaning.ranks for meaning in meanings], axis=0).tolist()
    shapes = []
    for pair, (_, m, k), r in zip(meanings[0].reading.pairs, meanings[0].modules, ranks, strict=True):
        shapes += [(pair.down_layer, (r, k)), (pair.up_layer, (m, r))]
    return Layout(shapes)
