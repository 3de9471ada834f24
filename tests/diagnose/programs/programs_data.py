"""Data sets of the programs, made once a process."""

from functools import cache

import datasets
import numpy as np
import torch


@cache
def nested(n=200):
    values = np.random.default_rng(0).standard_normal((n, 4, 40)).astype(np.float32)
    return datasets.Dataset.from_dict(
        {"down": list(map(list, map(np.ndarray.tolist, values))), "label": [i % 3 for i in range(n)]}
    )


@cache
def flat(n):
    return datasets.Dataset.from_dict({"label": [i % 3 for i in range(n)]})


def buffers(ds, name):
    column = ds.data.column(name).combine_chunks()
    values = column.flatten().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.reshape(len(ds), -1).astype(np.float32))
