"""Updates dW = s B A in float64, formed as no code of the package forms them, and zoos whose updates say something."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from lora_perf.core.features import Features
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo


def learn(zoo: Zoo, name: str, **asked: Any) -> Features:
    """The features of one representation."""
    return lora_perf.represent(zoo, [name], **asked)[name]


def flattened(zoo: Zoo, rows: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """All updates of each adapter as one row (n, sum of m k)."""
    factors = (zoo.rows.numpy() if rows is None else rows).astype(np.float64)
    scales = np.ones((len(zoo), len(zoo.layout.modules))) if zoo.scales is None else zoo.scales.double().numpy()
    found = []
    for i, module in enumerate(zoo.layout.modules):
        up = factors[:, module.up.columns].reshape(len(zoo), *module.up.shape)
        down = factors[:, module.down.columns].reshape(len(zoo), *module.down.shape)
        found.append((scales[:, i, None, None] * (up @ down)).reshape(len(zoo), -1))
    return np.concatenate(found, axis=1)


def planted(n: int = 120, rank: int = 1, noise: float = 0.2) -> Zoo:
    """Three classes of adapters that differ in dW alone: each factor pair stands in a random gauge, signs included."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    shapes, columns = [], []
    for name in ("attn1.to_q", "attn2.to_v"):
        shapes += [(f"{name}.lora.down.weight", (rank, 5)), (f"{name}.lora.up.weight", (6, rank))]
        up, down = rng.standard_normal((3, 6, rank)), rng.standard_normal((3, rank, 5))
        gauge = rng.standard_normal((n, rank, rank)) + np.sign(rng.standard_normal((n, 1, 1))) * np.eye(rank)
        noisy = [side[labels] + noise * rng.standard_normal((n, *side.shape[1:])) for side in (up, down)]
        columns += [np.linalg.solve(gauge, noisy[1]).reshape(n, -1), (noisy[0] @ gauge).reshape(n, -1)]
    rows = torch.from_numpy(np.concatenate(columns, axis=1))
    return Zoo.from_rows(rows, Layout(shapes), torch.from_numpy(labels), ["a", "b", "c"])


def accuracy(values: torch.Tensor, labels: torch.Tensor, train: torch.Tensor, test: torch.Tensor) -> float:
    """Of a ridge classifier on features scaled by the train rows."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), RidgeClassifier()).fit(values[train].numpy(), labels[train].numpy())
    return float(probe.score(values[test].numpy(), labels[test].numpy()))
