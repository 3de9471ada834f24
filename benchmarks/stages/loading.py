"""Loading and packing: from files to the row matrix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from benchmarks import baselines, corpora
from benchmarks.table import Baseline, Case, workload

# Layers that the slow paths load: one narrow, one wide, one of an up; their share of the row scales their time.
_SAMPLE = 3


# Adapter files that the slow paths load: enough that they, too, fault in fresh memory.
_FEW_FILES = 256


@cache
def expected(adapters: int) -> NDArray[np.float32]:
    """The rows of the corpus of some size, mapped from its packed form by the definition of that form alone.

    Tests show that all forms hold the same rows.
    """
    path = corpora.path("packed", adapters)
    with path.open("rb") as file:
        begin = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(begin))["rows"]
    n, p = entry["shape"]
    return np.memmap(path, np.float32, "r", 8 + begin + entry["data_offsets"][0], (n, p))


def check_rows(found: Any, rows: NDArray[np.float32]) -> None:
    """Raises AssertionError unless the rows are these; block by block, for there may be many."""
    assert found.shape == rows.shape, f"{found.shape} instead of {rows.shape}"
    for start in range(0, len(rows), 256):
        one, other = found[start : start + 256], rows[start : start + 256]
        if not np.array_equal(one, other):
            row, column = np.argwhere(one != other)[0]
            raise AssertionError(f"row {start + row}, column {column}: {one[row, column]} instead of {other[row, column]}")


@cache
def packed(adapters: int) -> Path:
    """The corpus of some size as a packed file that the package under measurement opens: an older one made its own kind."""
    path = corpora.path("packed", adapters)
    try:
        lora_perf.load(path)
    except lora_perf.LoraPerfError:
        path = corpora.scratch() / f"packed-{adapters}.safetensors"
        lora_perf.pack(corpora.path("nested", adapters), path)
    return path


@cache
def _dataset(storage: str, adapters: int) -> Any:
    import datasets

    return datasets.load_from_disk(str(corpora.path(storage, adapters)))


def _rows_case(data: Any, rows: NDArray[np.float32], *, slow: dict[str, Callable[..., torch.Tensor]]) -> Case:
    """The row matrix of a `datasets.Dataset`, against slow paths on a few of its columns and against copying it."""
    layout = lora_perf.load(data).layout
    sample = [layout.layers[i] for i in np.linspace(0, len(layout) - 1, _SAMPLE).round().astype(int)]
    share = sum(layer.size for layer in sample) / layout.p

    def check(found: torch.Tensor) -> None:
        np.testing.assert_array_equal(found.numpy(), rows)

    def check_columns(found: list[torch.Tensor]) -> None:
        assert len(found) == len(sample)
        for layer, one in zip(sample, found, strict=True):
            np.testing.assert_array_equal(one.numpy().reshape(len(rows), -1), rows[:, layer.columns])

    def columns(path: Callable[..., torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        return lambda: [path(data, layer.name) for layer in sample]

    return Case(
        call=lambda: lora_perf.load(data).rows,
        check=lambda found: check_rows(found.numpy(), rows),
        nbytes=rows.nbytes,
        baselines={name: Baseline(columns(path), check_columns, share) for name, path in slow.items()},
        limit=lambda: baselines.copy_fresh(rows),
        layers=len(layout),
        adapters=len(rows),
    )


_SLOW = {
    "torch.tensor": baselines.column_to_tensor,
    "with_format-torch": baselines.torch_format,
    "with_format-numpy": baselines.numpy_format,
}


@workload("loading", "small", "medium", baselines=tuple(_SLOW), limit=True)
def load_nested(scale: str) -> Case:
    """Nested lists, the layout of the real data."""
    n = corpora.SCALES[scale]
    return _rows_case(_dataset("nested", n), expected(n), slow=_SLOW)


@workload("loading", "small", "medium", baselines=tuple(_SLOW), limit=True)
def load_array2d(scale: str) -> Case:
    """Array2D columns."""
    n = corpora.SCALES[scale]
    return _rows_case(_dataset("array2d", n), expected(n), slow=_SLOW)


@workload("loading", "small", "medium", baselines=("with_format-numpy",), limit=True)
def load_float16(scale: str) -> Case:
    """Nested lists of float16, which become float32."""
    n = corpora.SCALES[scale]
    rounded = expected(n).astype(np.float16).astype(np.float32)
    return _rows_case(_dataset("nested16", n), rounded, slow={"with_format-numpy": baselines.numpy_format})


@workload("loading", "small", "medium", baselines=tuple(_SLOW), limit=True)
def load_split(scale: str) -> Case:
    """The train part of `train_test_split`: nested lists behind an indices mapping."""
    n = corpora.SCALES[scale]
    part = _dataset("nested", n).train_test_split(test_size=0.3, seed=42)["train"]
    order = part._indices.column(0).to_numpy()
    return _rows_case(part, np.take(expected(n), order, axis=0), slow=_SLOW)


@workload("loading", "small", "medium", baselines=("row-by-row",), limit=True)
def load_samples(scale: str) -> Case:
    """Nested lists against reading adapter by adapter, as a DataLoader does."""
    n = corpora.SCALES[scale]
    data, rows = _dataset("nested", n), expected(n)
    few = min(n, 8)
    by_sample = Baseline(
        lambda: baselines.sample_by_sample(data, few),
        lambda found: check_rows(found.numpy(), rows[:few]),
        few / n,
    )
    case = _rows_case(data, rows, slow={})
    return Case(case.call, case.check, case.nbytes, {"row-by-row": by_sample}, case.limit, None, case.layers, n)


@workload("loading", "small", "medium", baselines=("pyarrow",), limit=True)
def load_parquet(scale: str) -> Case:
    """A folder of parquet shards, which must be decoded."""
    n = corpora.SCALES[scale]
    folder, rows = corpora.path("parquet", n), expected(n)
    return Case(
        call=lambda: lora_perf.load(folder).rows,
        check=lambda found: check_rows(found.numpy(), rows),
        nbytes=rows.nbytes,
        baselines={
            "pyarrow": Baseline(lambda: baselines.read_parquet(folder), lambda found: check_rows(_side_by_side(found, n), rows))
        },
        limit=lambda: baselines.copy_fresh(rows),
        layers=128,
        adapters=n,
    )


def _side_by_side(columns: list[NDArray[np.float32]], n: int) -> NDArray[np.float32]:
    return np.concatenate([values.reshape(n, -1) for values in columns], axis=1)


_SLOW_FILES = {"safe_open": baselines.open_tensor_by_tensor, "load_file": baselines.load_whole_files}


@workload("loading", "small", "medium", baselines=tuple(_SLOW_FILES), limit=True)
def load_folder(scale: str) -> Case:
    """A folder of adapter files in sub-folders named by their classes, page cache warm."""
    n = corpora.SCALES[scale]
    folder, labels = corpora.path("folder", n), corpora.labels_of(lora_perf.load(corpora.path("nested", n)))
    rows = np.take(expected(n), torch.argsort(labels, stable=True).numpy(), axis=0)  # files come in the order of their classes
    paths = sorted(folder.rglob("*.safetensors"))
    few = paths[:_FEW_FILES]

    def slow(path: Callable[..., torch.Tensor]) -> Baseline:
        return Baseline(lambda: path(few), lambda found: check_rows(found.numpy(), rows[: len(few)]), len(few) / n)

    return Case(
        call=lambda: lora_perf.load(folder).rows,
        check=lambda found: check_rows(found.numpy(), rows),
        nbytes=rows.nbytes,
        baselines={name: slow(path) for name, path in _SLOW_FILES.items()},
        limit=lambda: baselines.copy_fresh(rows),
        layers=128,
        adapters=n,
    )


@workload("loading", "small", "medium", "large", limit=True)
def stream_nested(scale: str) -> Case:
    """All rows of nested lists through the one reused buffer of `zoo.blocks()`, page cache warm."""
    n = corpora.SCALES[scale]
    zoo = lora_perf.load(_dataset("nested", n))
    step = zoo.block_rows()
    warm = np.ones((step, zoo.layout.p), np.float32)
    source = expected(n)

    def stream() -> int:
        return sum(len(block) for _, block in zoo.blocks())

    def check(count: int) -> None:
        assert count == n
        for rows, block in zoo.blocks():
            check_rows(block.numpy(), source[rows])

    return Case(stream, check, source.nbytes, limit=lambda: baselines.copy_blocks(source, warm), layers=128, adapters=n)


def _open_case(path: Path, n: int, *, before: Callable[[], None] | None = None) -> Case:
    rows = expected(n)
    labels = corpora.labels_of(lora_perf.load(corpora.path("nested", n))).tolist() if n <= corpora.SCALES["medium"] else None

    def check(zoo: lora_perf.Zoo) -> None:
        check_rows(zoo.rows.numpy(), rows)
        assert labels is None or corpora.labels_of(zoo).tolist() == labels

    return Case(lambda: lora_perf.load(path), check, 8 * n, before=before, layers=128, adapters=n)


@workload("loading", "small", "medium", "large")
def open_packed_warm(scale: str) -> Case:
    """Opening a packed zoo, which reads no weight; its file is in the page cache."""
    n = corpora.SCALES[scale]
    return _open_case(packed(n), n)


@workload("loading", "small", "medium", "large")
def open_packed_cold(scale: str) -> Case:
    """Opening a packed zoo whose file was dropped from the page cache."""
    n = corpora.SCALES[scale]
    # A copy that nothing else in this process maps: the system does not drop pages that are mapped.
    path = corpora.scratch() / f"cold-{n}.safetensors"
    shutil.copyfile(packed(n), path)
    return _open_case(path, n, before=lambda: corpora.evict(path))


@workload("packing", "small", "medium", limit=True)
def pack_nested(scale: str) -> Case:
    """Nested lists to one packed file, in a stream, with its fingerprint."""
    n = corpora.SCALES[scale]
    data, rows = _dataset("nested", n), expected(n)
    target, copy = corpora.scratch() / "zoo.safetensors", corpora.scratch() / "copy"

    def pack() -> Path:
        lora_perf.pack(data, target)
        return target

    zoo = lora_perf.load(data)

    def check(path: Path) -> None:
        packed = lora_perf.load(path)
        check_rows(packed.rows.numpy(), rows)
        assert torch.equal(corpora.labels_of(packed), corpora.labels_of(zoo))
        assert packed.layout.to_json() == zoo.layout.to_json()

    return Case(pack, check, rows.nbytes, limit=lambda: baselines.write_bytes(rows, copy), layers=128, adapters=n)
