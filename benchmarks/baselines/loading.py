"""Reading a `datasets.Dataset` as its users do, and the copies that are the limit of any reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor


def column_to_tensor(data: Any, name: str) -> Tensor:
    """The conversion that made an ablation take eight days: nested Python lists of one column to a tensor (n, *shape)."""
    return torch.tensor(data[name][:])


def torch_format(data: Any, name: str) -> Tensor:
    """The published fix: one column (n, *shape) through the torch formatter."""
    return _stacked(data.with_format("torch")[name][:])


def numpy_format(data: Any, name: str) -> Tensor:
    """One column (n, *shape) through the NumPy formatter; `torch.from_numpy` shares its memory."""
    found = data.with_format("numpy")[name][:]
    return torch.from_numpy(np.asarray(found if isinstance(found, np.ndarray) else np.stack(found), np.float32))


def sample_by_sample(data: Any, n: int) -> Tensor:
    """The first n rows (n, p), adapter by adapter as a DataLoader reads them: the weight columns in their order, flattened."""
    names = [name for name in data.column_names if name.endswith(".weight")]
    rows = []
    for i in range(n):
        adapter = data[i]
        rows.append(torch.cat([torch.tensor(adapter[name]).flatten() for name in names]))
    return torch.stack(rows)


def open_tensor_by_tensor(paths: Sequence[Path]) -> Tensor:
    """The rows (n, p) of adapter files: each opened and asked for its tensors one by one, in the order of their names."""
    rows = []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            rows.append(torch.cat([file.get_tensor(name).flatten() for name in sorted(file.keys())]))
    return torch.stack(rows)


def load_whole_files(paths: Sequence[Path]) -> Tensor:
    """The rows (n, p) of adapter files by `load_file`, which returns all tensors of a file."""
    rows = []
    for path in paths:
        tensors = load_file(path)
        rows.append(torch.cat([tensors[name].flatten() for name in sorted(tensors)]))
    return torch.stack(rows)


def copy_fresh(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same bytes in newly allocated memory."""
    fresh = np.empty_like(rows, subok=False)
    np.copyto(fresh, rows)
    return fresh


def copy_blocks(rows: NDArray[np.float32], warm: NDArray[np.float32]) -> int:
    """Copies all rows block by block into one buffer (b, p) that was used before; returns how many."""
    count = 0
    for start in range(0, len(rows), len(warm)):
        block = rows[start : start + len(warm)]
        np.copyto(warm[: len(block)], block)
        count += len(block)
    return count


def write_bytes(rows: NDArray[np.float32], path: Path) -> Path:
    """The bytes of the rows in a file, without any format."""
    with path.open("wb") as file:
        file.write(rows.data)
    return path


def _stacked(found: Any) -> Tensor:
    tensor: Tensor = found if isinstance(found, Tensor) else torch.stack(list(found))
    return tensor


def read_parquet(folder: Path) -> list[NDArray[np.float32]]:
    """pyarrow's own reading of a folder of parquet shards, on its threads: the values of each weight column, no matrix yet."""
    table = pq.read_table(folder)
    return [_values(table.column(name).combine_chunks()) for name in table.column_names if name.endswith(".weight")]


def _values(array: pa.Array) -> NDArray[np.float32]:
    while pa.types.is_list(array.type):
        array = array.flatten()
    values: NDArray[np.float32] = array.to_numpy()
    return values
