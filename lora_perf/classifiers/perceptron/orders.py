"""The orders in which epochs see the train rows: of all rows at random, or window by window for files on slow disks."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lora_perf.classifiers.perceptron.recipe import Shuffle

_BLOCK = 64  # rows that stand together and are read one after the other: of Stable Diffusion 1.5 25 MB
_WINDOW = 0.1  # of the rows: what is mixed at a time


def order(train: Tensor, generator: Generator, epoch: int, shuffle: Shuffle) -> Tensor:
    """A permutation (n,) of the positions in `train`, the row numbers (n,) of the train rows.

    rows: any of all permutations. windows: blocks of rows that stand together are drawn in an order that all runs share, a
    tenth of the rows at a time, and each run mixes the rows of such a window in its own way: all runs read the same tenth of
    a file at about the same time, and a pass over it serves them all. After CorgiPile (Xu et al., SIGMOD 2022, arXiv
    2206.05830). Where rows stand in the order of their classes, a window holds few of them.

    Args:
        generator: of the run.
        epoch: from 1 on.
    """
    n = len(train)
    if shuffle == "rows":
        return torch.randperm(n, generator=generator)
    blocks = train.cpu().argsort().split(_BLOCK)
    drawn = torch.randperm(len(blocks), generator=Generator().manual_seed(epoch)).tolist()
    count = max(1, -(-round(_WINDOW * n) // _BLOCK))
    windows = [torch.cat([blocks[block] for block in drawn[start : start + count]]) for start in range(0, len(drawn), count)]
    return torch.cat([window[torch.randperm(len(window), generator=generator)] for window in windows])
