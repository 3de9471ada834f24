"""The streamed pass over zoos larger than they need to fit in memory: rows come block by block from the packed file."""

from __future__ import annotations

from typing import Any

import numpy as np

import lora_perf
from benchmarks import corpora
from benchmarks.stages.loading import packed
from benchmarks.table import Case, workload

_NAMES = ("stats", "matrix_norms")
_PIECE = 500  # adapters of which the check holds copies in memory


@workload("representing", "small", "medium", "large")
def represent_streamed(scale: str) -> Case:
    """Two representations of a packed zoo, whose rows are read block by block, page cache warm."""
    n = corpora.SCALES[scale]
    path = packed(n)
    zoo = lora_perf.load(path)

    def check(found: dict[str, Any]) -> None:
        for start in range(0, n, _PIECE):
            rows = slice(start, start + _PIECE)
            piece = lora_perf.Zoo.from_rows(zoo.rows[rows].clone(), zoo.layout, corpora.labels_of(zoo)[rows], zoo.classes)
            for name, one in lora_perf.represent(piece, _NAMES).items():
                np.testing.assert_allclose(found[name].values[rows].numpy(), one.values.numpy(), rtol=1e-6)
        assert all(len(one) == n for one in found.values())

    return Case(
        call=lambda: lora_perf.represent(lora_perf.load(path), _NAMES),
        check=check,
        nbytes=zoo.nbytes,
        layers=len(zoo.layout),
        adapters=n,
    )
