"""Small problems: features of a few classes, a split, and their standardised form in plain NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.split import Split

N_TRAIN, N_VALIDATION, N_TEST = 40, 20, 30


def split_of(seed: int = 0) -> Split:
    rows = torch.randperm(N_TRAIN + N_VALIDATION + N_TEST, generator=torch.Generator().manual_seed(seed))
    train, validation, test = rows.split([N_TRAIN, N_VALIDATION, N_TEST])
    return Split(train, validation, test, "stratified")


def problem(f: int, seed: int = 0, signal: float = 1.0) -> tuple[Tensor, Tensor, Split]:
    """Features (90, f) of three classes whose means differ, of very different scales, the last two columns constant."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(90) % 3)
    means = signal * rng.normal(size=(3, f))
    values = (means[labels] + rng.normal(size=(90, f))) * 10.0 ** rng.integers(-3, 4, f) + 5
    values[:, -2:] = 7.0
    return torch.tensor(values, dtype=torch.float32), torch.tensor(labels), split_of(seed)


def standardised(values: Tensor, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in plain NumPy, without a rotation: the columns that vary, by mean and deviation of the train rows."""
    x = values.double().numpy()[:, :-2]
    train = x[split.train]
    z = (x - train.mean(axis=0)) / train.std(axis=0)
    return z[split.train], z[split.validation], z[split.test]
