"""Columns from Arrow's buffers: as the library does it, and as text for its users."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def column_tensor(ds: Any, name: str) -> Tensor:
    """One column (n, ...) of a `datasets.Dataset` of nested lists or arrays of one shape, from Arrow's buffers.

    Source: the layout of Arrow's list and extension types; the values of a chunk lie side by side.
    """
    table = ds.flatten_indices() if ds._indices is not None else ds
    return flat_tensor(table.data.column(name))


def flat_tensor(column: Any) -> Tensor:
    """(n, ...) of a chunked array of Arrow, of nested lists or arrays of one shape."""
    import pyarrow as pa

    found = []
    for chunk in column.chunks:
        shape = [len(chunk)]
        values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        while pa.types.is_nested(values.type):
            below = values.flatten()
            shape.append(len(below) // max(1, len(values)))
            values = below
        found.append(values.to_numpy(zero_copy_only=False).reshape(shape))
    return torch.from_numpy(np.concatenate(found).astype(np.float32, copy=False))


COLUMN_TENSOR = '''
def column_tensor(ds, name):
    """One column (n, ...) of nested lists or arrays of one shape, from Arrow's buffers."""
    found = []
    table = ds.flatten_indices() if ds._indices is not None else ds
    for chunk in table.data.column(name).chunks:
        shape = [len(chunk)]
        values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        while pa.types.is_nested(values.type):
            below = values.flatten()
            shape.append(len(below) // max(1, len(values)))
            values = below
        found.append(values.to_numpy(zero_copy_only=False).reshape(shape))
    return torch.from_numpy(np.concatenate(found).astype(np.float32, copy=False))
'''
